package formats

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
)

// The opcodes of pickle protocols 2 to 5 that a dict of plain values needs. All others
// (GLOBAL, REDUCE, BUILD, INST, OBJ, NEWOBJ, EXT, PERSID, STACK_GLOBAL, …) import,
// call or build something: what has one of them is refused.
const (
	opProto           = 0x80
	opFrame           = 0x95
	opStop            = '.'
	opMark            = '('
	opNone            = 'N'
	opTrue            = 0x88
	opFalse           = 0x89
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opLong1           = 0x8a
	opBinFloat        = 'G'
	opBinUnicode      = 'X'
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opBinBytes8       = 0x8e
	opEmptyDict       = '}'
	opSetItem         = 's'
	opSetItems        = 'u'
	opDict            = 'd'
	opEmptyList       = ']'
	opAppend          = 'a'
	opAppends         = 'e'
	opList            = 'l'
	opEmptyTuple      = ')'
	opTuple           = 't'
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opMemoize         = 0x94
	opBinGet          = 'h'
	opLongBinGet      = 'j'
)

// maxLong bounds the bytes of a long integer.
const maxLong = 32

// unpickler is the stack machine of pickle, without anything that leaves it.
type unpickler struct {
	reader
	stack []any
	marks []int
	memo  map[uint64]any
}

// pickle reads a pickled dict and nothing behind it; nil when it is none.
func pickle(raw string) map[string]any {
	if len(raw) > MaxBytes {
		return nil
	}
	p := &unpickler{reader: reader{data: raw}, memo: make(map[uint64]any)}
	if op, _ := p.byte(); op != opProto {
		return nil
	}
	if version, ok := p.byte(); !ok || version < 2 || version > 5 {
		return nil
	}
	for {
		op, ok := p.byte()
		if !ok || !p.element() {
			return nil
		}
		if op == opStop {
			break
		}
		if !p.step(op) {
			return nil
		}
	}
	if len(p.stack) != 1 || len(p.marks) != 0 || p.left() > 0 || !nestedWithin(p.stack[0], MaxDepth) {
		return nil
	}
	doc, _ := p.stack[0].(map[string]any)
	return doc
}

// step does one opcode; false when it is unknown or malformed.
func (p *unpickler) step(op byte) bool {
	switch op {
	case opFrame: // a hint to readers of streams
		_, ok := p.take(8)
		return ok
	case opMark:
		p.marks = append(p.marks, len(p.stack))
		return len(p.marks) <= MaxDepth
	case opSetItem, opSetItems, opAppend, opAppends:
		return p.extend(op)
	case opDict, opList, opTuple, opTuple1, opTuple2, opTuple3:
		return p.collect(op)
	case opBinPut, opLongBinPut, opMemoize:
		return p.put(op)
	}
	v, ok := p.single(op)
	p.stack = append(p.stack, v)
	return ok
}

// single reads a value that is made of nothing on the stack.
func (p *unpickler) single(op byte) (v any, ok bool) {
	switch op {
	case opNone:
		return nil, true
	case opTrue, opFalse:
		return op == opTrue, true
	case opBinInt:
		n, ok := p.little(4)
		return integer(int64(int32(uint32(n)))), ok
	case opBinInt1:
		n, ok := p.little(1)
		return integer(int64(n)), ok
	case opBinInt2:
		n, ok := p.little(2)
		return integer(int64(n)), ok
	case opLong1:
		return p.long()
	case opBinFloat:
		bits, ok := p.big(8)
		return float(math.Float64frombits(bits)), ok
	case opEmptyDict:
		return map[string]any{}, true
	case opEmptyList, opEmptyTuple:
		return []any{}, true
	case opBinGet, opLongBinGet:
		return p.get(op)
	}
	return p.sized(op)
}

// sized reads what has its length in front: text, and bytes, which are not read.
func (p *unpickler) sized(op byte) (any, bool) {
	size := 0
	switch op {
	case opShortBinUnicode, opShortBinBytes:
		size = 1
	case opBinUnicode, opBinBytes:
		size = 4
	case opBinUnicode8, opBinBytes8:
		size = 8
	default:
		return nil, false
	}
	n, ok := p.little(size)
	if !ok {
		return nil, false
	}
	s, ok := p.take(n)
	if op == opShortBinUnicode || op == opBinUnicode || op == opBinUnicode8 {
		return text(s), ok
	}
	return Opaque{}, ok
}

// long reads a number in two's complement, the least byte first.
func (p *unpickler) long() (any, bool) {
	n, ok := p.byte()
	if !ok || n > maxLong {
		return nil, false
	}
	s, ok := p.take(uint64(n))
	b := []byte(s)
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return json.Number(v.String()), ok
}

// sinceMark takes off the stack what was put there since the last mark.
func (p *unpickler) sinceMark() ([]any, bool) {
	if len(p.marks) == 0 {
		return nil, false
	}
	at := p.marks[len(p.marks)-1]
	p.marks = p.marks[:len(p.marks)-1]
	return p.pop(len(p.stack) - at)
}

// pop takes the last n values off the stack, but never past a mark.
func (p *unpickler) pop(n int) ([]any, bool) {
	at := len(p.stack) - n
	if n < 0 || at < 0 || len(p.marks) > 0 && at < p.marks[len(p.marks)-1] {
		return nil, false
	}
	items := slices.Clone(p.stack[at:])
	p.stack = p.stack[:at]
	return items, true
}

// extend adds values to the dict or list below them.
func (p *unpickler) extend(op byte) bool {
	var items []any
	var ok bool
	switch op {
	case opSetItem:
		items, ok = p.pop(2)
	case opAppend:
		items, ok = p.pop(1)
	default:
		items, ok = p.sinceMark()
	}
	target, below := p.pop(1)
	if !ok || !below {
		return false
	}
	switch t := target[0].(type) {
	case map[string]any:
		if op != opSetItem && op != opSetItems || !setAll(t, items) {
			return false
		}
		p.stack = append(p.stack, t)
	case []any:
		if op != opAppend && op != opAppends {
			return false
		}
		p.stack = append(p.stack, append(t, items...))
	default:
		return false
	}
	return true
}

func setAll(dict map[string]any, items []any) bool {
	if len(items)%2 != 0 {
		return false
	}
	for i := 0; i < len(items); i += 2 {
		name, ok := keyName(items[i])
		if !ok {
			return false
		}
		dict[name] = items[i+1]
	}
	return true
}

// collect makes one value of several.
func (p *unpickler) collect(op byte) bool {
	var items []any
	var ok bool
	switch op {
	case opTuple1, opTuple2, opTuple3:
		items, ok = p.pop(int(op-opTuple1) + 1)
	default:
		items, ok = p.sinceMark()
	}
	if !ok {
		return false
	}
	if op != opDict {
		p.stack = append(p.stack, items)
		return true
	}
	dict := map[string]any{}
	p.stack = append(p.stack, dict)
	return setAll(dict, items)
}

// put remembers the value on top of the stack. Of a list, tuple or dict only that it
// was there: used twice, a small pickle would make a huge tree, or one without an end.
func (p *unpickler) put(op byte) bool {
	if len(p.stack) == 0 {
		return false
	}
	at, ok := uint64(len(p.memo)), true
	switch op {
	case opBinPut:
		at, ok = p.little(1)
	case opLongBinPut:
		at, ok = p.little(4)
	}
	v := p.stack[len(p.stack)-1]
	switch v.(type) {
	case map[string]any, []any:
		v = Opaque{}
	}
	p.memo[at] = v
	return ok
}

func (p *unpickler) get(op byte) (any, bool) {
	size := 1
	if op == opLongBinGet {
		size = 4
	}
	at, ok := p.little(size)
	v, known := p.memo[at]
	return v, ok && known
}

func nestedWithin(v any, depth int) bool {
	inner := func(v any) bool { return nestedWithin(v, depth-1) }
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if depth == 0 || !inner(e) {
				return false
			}
		}
	case []any:
		return len(v) == 0 || depth > 0 && !slices.ContainsFunc(v, func(e any) bool { return !inner(e) })
	}
	return true
}
