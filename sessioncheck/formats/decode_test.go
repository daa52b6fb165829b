package formats

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/hashfields"
)

func unhexText(t testing.TB, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What Python's pickle wrote for one dict, in each protocol.
func pickles() map[int]string {
	const two = "027d710028580d0000005f617574685f757365725f69647101580100000037710258010000006e71034afbffffff580300000062696771048a0900000000000000004058030000006e656771058a090000000000000000c05801000000667106473ff800000000000058010000007471078858020000006e6f71084e58010000006c71095d710a284b014b0268026558020000007475710b284b014b024b034b0474710c580100000064710d7d710e580100000061710f7d711058010000006271114b017373752e"
	const four = "958e000000000000007d94288c0d5f617574685f757365725f6964948c0137948c016e944afbffffff8c03626967948a090000000000000000408c036e6567948a090000000000000000c08c016694473ff80000000000008c017494888c026e6f944e8c016c945d94284b014b026802658c02747594284b014b024b034b0474948c0164947d948c0161947d948c0162944b017373752e"
	return map[int]string{2: "80" + two, 3: "8003" + two[2:], 4: "8004" + four, 5: "8005" + four}
}

func num(s string) json.Number { return json.Number(s) }

func TestPickle(t *testing.T) {
	want := map[string]any{
		"_auth_user_id": "7", "n": num("-5"), "big": num("1180591620717411303424"), "neg": num("-1180591620717411303424"),
		"f": num("1.5"), "t": true, "no": nil, "l": []any{num("1"), num("2"), "7"},
		"tu": []any{num("1"), num("2"), num("3"), num("4")},
		"d":  map[string]any{"a": map[string]any{"b": num("1")}},
	}
	for protocol, data := range pickles() {
		if got := pickle(unhexText(t, data)); !reflect.DeepEqual(got, want) {
			t.Errorf("protocol %d: got %#v, want %#v", protocol, got, want)
		}
	}
}

// No opcode that imports, calls or builds is known, nor is any other.
func TestPickleRefuses(t *testing.T) {
	date := unhexText(t, "8004952a000000000000007d948c047768656e948c086461746574696d65948c0464617465949394430407e401019485945294732e")
	bad := map[string]string{
		"an object": date, "empty": "", "no protocol": "}.", "protocol 1": "\x80\x01}.", "protocol 6": "\x80\x06}.",
		"not ended": "\x80\x04}", "something behind": "\x80\x04}.x", "a list": "\x80\x04].", "two values": "\x80\x04}}.",
		"nothing": "\x80\x04.", "an open mark": "\x80\x04(}.", "past a mark": "\x80\x04}(X\x01\x00\x00\x00aK\x01su.",
		"an odd number of items": "\x80\x04}(K\x01u.", "a key that is a list": "\x80\x04}]K\x01s.", "unknown memo": "\x80\x04h\x00.",
		"text over the end": "\x80\x04}X\xff\xff\xff\xffa", "items for a number": "\x80\x04K\x01(u.", "items for a list": "\x80\x04](K\x01K\x02u.",
		"a long number": "\x80\x04}(K\x01\x8a\xff" + strings.Repeat("x", 255) + "u.",
		"deep lists":    "\x80\x04}K\x01" + strings.Repeat("]", 40) + strings.Repeat("a", 39) + "s.",
		"marks":         "\x80\x04" + strings.Repeat("(", 40) + strings.Repeat("t", 40) + ".",
		"many elements": "\x80\x04}(" + strings.Repeat("NN", maxElements) + "u.",
		"too large":     "\x80\x04}K\x01X" + "\x00\x00\x01\x00" + strings.Repeat("x", 1<<16) + "s.",
	}
	known := []byte(".(N\x88\x89JKM\x8aGX\x8c\x8dBC\x8e}sud]ael)t\x85\x86\x87qr\x94hj\x95")
	for op := range 256 {
		if !strings.Contains(string(known), string([]byte{byte(op)})) {
			bad[fmt.Sprintf("opcode %#x", op)] = "\x80\x04}" + string([]byte{byte(op)}) + "."
		}
	}
	for name, raw := range bad {
		if doc := pickle(raw); doc != nil {
			t.Errorf("%s: read as %#v", name, doc)
		}
	}
}

// A list that is used twice would make 2^n elements of n opcodes.
func TestPickleDoesNotShareContainers(t *testing.T) {
	doc := pickle("\x80\x04}(K\x01]\x94K\x05aK\x02h\x00u.")
	want := map[string]any{"1": []any{num("5")}, "2": Opaque{}}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got %#v, want %#v", doc, want)
	}
}

func TestMsgpack(t *testing.T) {
	const packed = "8ca85f757365725f6964a137aa5f7065726d616e656e74c3a16efba175cd9c40a36e6567d2ffff63c0a3626967cf8000000000000000a166cb3ff8000000000000a26e6fc0a16c9201a137a16481a16181a16201a26279c40178a46c6f6e67d92879797979797979797979797979797979797979797979797979797979797979797979797979797979"
	want := map[string]any{
		"_user_id": "7", "_permanent": true, "n": num("-5"), "u": num("40000"), "neg": num("-40000"), "big": num("9223372036854775808"),
		"f": num("1.5"), "no": nil, "l": []any{num("1"), "7"}, "d": map[string]any{"a": map[string]any{"b": num("1")}},
		"by": Opaque{}, "long": strings.Repeat("y", 40),
	}
	raw := unhexText(t, packed)
	if got := decodeFlask(raw); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	for n := range len(raw) {
		if doc := msgpack(raw[:n]); doc != nil {
			t.Fatalf("the first %d bytes were read as %#v", n, doc)
		}
	}
	for name, bad := range map[string]string{
		"something behind": raw + "\x00", "a list": "\x90", "a number": "\x01", "never used": "\xc1",
		"a list as a key": "\x81\x90\x01", "a null key": "\x81\xc0\x01", "2^32 elements": "\xdd\xff\xff\xff\xff", "2^32 pairs": "\xdf\xff\xff\xff\xff\x00",
		"deep": "\x81\x01" + strings.Repeat("\x91", 40) + "\x01", "many": "\x81\x01\xdc\x40\x01" + strings.Repeat("\x00", 0x4001),
	} {
		if doc := msgpack(bad); doc != nil {
			t.Errorf("%s: read as %.60v", name, doc)
		}
	}
	for name, tc := range map[string]struct {
		raw  string
		want any
	}{
		"float32": {"\xca\x3f\x80\x00\x00", num("1")}, "NaN": {"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", Opaque{}},
		"int8": {"\xd0\x80", num("-128")}, "int16": {"\xd1\x80\x00", num("-32768")}, "int64": {"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", num("-1")},
		"uint8": {"\xcc\xff", num("255")}, "uint32": {"\xce\xff\xff\xff\xff", num("4294967295")},
		"bin16": {"\xc5\x00\x01x", Opaque{}}, "ext8": {"\xc7\x01\x05x", Opaque{}}, "fixext4": {"\xd6\x01abcd", Opaque{}},
		"str16": {"\xda\x00\x01x", "x"}, "str32": {"\xdb\x00\x00\x00\x01x", "x"}, "not UTF-8": {"\xa1\xff", Opaque{}},
		"map16": {"\xde\x00\x00", map[string]any{}}, "list16": {"\xdc\x00\x01\xc2", []any{false}},
	} {
		if got := msgpack("\x81\xa1k" + tc.raw); !reflect.DeepEqual(got, map[string]any{"k": tc.want}) {
			t.Errorf("%s: got %#v", name, got)
		}
	}
}

func TestFlaskSerializers(t *testing.T) {
	want := map[string]any{"user_id": num("7")}
	for _, raw := range []string{`{"user_id":7}`, "\x81\xa7user_id\x07", "\x80\x04}X\x07\x00\x00\x00user_idK\x07s."} {
		if got := decodeFlask(raw); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v", raw, got)
		}
	}
	if got := decodeFlask("\x80"); got == nil || len(got) != 0 {
		t.Errorf("an empty map: got %#v", got)
	}
}

func TestPHP(t *testing.T) {
	want := map[string]any{
		"user_id": num("7"), "a": map[string]any{"x": num("1.5"), "y": true, "z": nil}, "l": []any{"p", "q"}, "o": Opaque{}, "s": Opaque{},
	}
	for name, raw := range map[string]string{
		"php":           `user_id|i:7;a|a:3:{s:1:"x";d:1.5;s:1:"y";b:1;s:1:"z";N;}l|a:2:{i:0;s:1:"p";i:1;s:1:"q";}o|O:11:"ArrayObject":4:{i:0;i:0;i:1;a:1:{i:0;i:1;}i:2;a:0:{}i:3;N;}s|O:8:"stdClass":0:{}`,
		"php_serialize": `a:5:{s:7:"user_id";i:7;s:1:"a";a:3:{s:1:"x";d:1.5;s:1:"y";b:1;s:1:"z";N;}s:1:"l";a:2:{i:0;s:1:"p";i:1;s:1:"q";}s:1:"o";O:11:"ArrayObject":4:{i:0;i:0;i:1;a:1:{i:0;i:1;}i:2;a:0:{}i:3;N;}s:1:"s";O:8:"stdClass":0:{}}`,
	} {
		if got := phpSession(raw); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", name, got, want)
		}
	}
	for raw, want := range map[string]map[string]any{
		"":                           {},
		`a|s:9:"x|i:1;";}";`:         {"a": `x|i:1;";}`}, // the length counts, not the quotes
		"a|R:1;b|r:2;":               {"a": Opaque{}, "b": Opaque{}},
		"!a|b|i:1;":                  {"b": num("1")},
		`e|E:7:"Suit:Ah";`:           {"e": Opaque{}},
		"x|s:1:\"\xff\";":            {"x": Opaque{}},
		"x|a:2:{i:1;i:5;i:0;i:6;}":   {"x": map[string]any{"1": num("5"), "0": num("6")}},
		"f|d:INF;g|d:1e400;":         nil,
		`c|C:11:"ArrayObject":2:{x}`: nil,
		"x|i:1":                      nil,
		"x|i:9223372036854775808;":   nil,
		"x|b:2;":                     nil,
		`x|s:5:"abc";`:               nil,
		`x|s:-1:"abc";`:              nil,
		"x|a:99999999:{}":            nil,
		"x|a:1:{}":                   nil,
		"x|a:1:{N;i:1;}":             nil,
		"x":                          nil,
		"x|y:1;":                     nil,
		"x|":                         nil,
		"x|" + strings.Repeat("a:1:{i:0;", 33) + "i:1;" + strings.Repeat("}", 33): nil,
		"x|s:65536:\"" + strings.Repeat("x", 65536) + "\";":                       nil,
	} {
		if got := phpSession(raw); !reflect.DeepEqual(got, want) {
			t.Errorf("%.50q: got %#v, want %#v", raw, got, want)
		}
	}
}

func TestLaravelValue(t *testing.T) {
	const inner = `a:2:{s:6:"_token";s:1:"t";s:50:"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d";i:3;}`
	doc := decodeLaravel(`s:89:"` + inner + `";`)
	if doc["login_web"] != num("3") || doc["_token"] != "t" {
		t.Errorf("got %#v", doc)
	}
	const asJSON = `{"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d":3}`
	if doc := decodeLaravel(fmt.Sprintf(`s:%d:"%s";`, len(asJSON), asJSON)); doc["login_web"] != num("3") {
		t.Errorf("json: got %#v", doc)
	}
	const two = `{"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d":3,"login_web_0000000000000000000000000000000000000000":4}`
	for range 20 {
		if doc := decodeLaravel(fmt.Sprintf(`s:%d:"%s";`, len(two), two)); doc["login_web"] != (Opaque{}) {
			t.Fatalf("two users: got %#v", doc)
		}
	}
	for _, bad := range []string{"", inner, `s:1:"x";`, `s:89:"` + inner + `";x`, `s:6:"a:0:{}`, "i:1;"} {
		if doc := decodeLaravel(bad); doc != nil {
			t.Errorf("%q: read as %#v", bad, doc)
		}
	}
}

func TestRailsValue(t *testing.T) {
	doc := decodeRails(`{"_csrf_token":"x","warden.user.user.key":[[5],"$2a$"],"warden.user.admin.key":"odd"}`)
	if doc["warden_user"] != num("5") || doc["warden_admin"] != nil {
		t.Errorf("got %#v", doc)
	}
	if doc := decodeRails("\x04\x08{\x00"); doc != nil {
		t.Errorf("Marshal was read as %#v", doc)
	}
}

const (
	javaLong    = "aced00057372000e6a6176612e6c616e672e4c6f6e673b8be490cc8f23df0200014a000576616c7565787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b02000078700000018bcfe56800"
	javaInteger = "aced0005737200116a6176612e6c616e672e496e746567657212e2a0a4f781873802000149000576616c7565787200106a6176612e6c616e672e4e756d62657286ac951d0b94e08b020000787000000708"
	javaString  = "aced0005740005616c696365"
	javaTrue    = "aced0005737200116a6176612e6c616e672e426f6f6c65616ecd207280d59cfaee0200015a000576616c7565787001"
)

func springHash(t testing.TB, fields ...string) string {
	var out []byte
	for i := 0; i < len(fields); i += 2 {
		value := fields[i+1]
		if strings.HasPrefix(value, "aced") {
			value = unhexText(t, value)
		}
		out = hashfields.Append(out, fields[i], value)
	}
	return string(out)
}

func TestSpring(t *testing.T) {
	raw := springHash(t, "creationTime", javaLong, "lastAccessedTime", javaLong, "maxInactiveInterval", javaInteger,
		"sessionAttr:userId", javaString, "sessionAttr:ok", javaTrue, "sessionAttr:gone", "",
		"sessionAttr:SPRING_SECURITY_CONTEXT", "aced000573720000")
	want := map[string]any{
		"creationTime": num("1700000000000"), "lastAccessedTime": num("1700000000000"), "maxInactiveInterval": num("1800"),
		"sessionAttr": map[string]any{"userId": "alice", "ok": true, "gone": nil, "SPRING_SECURITY_CONTEXT": Opaque{}},
	}
	doc := decodeSpring(raw)
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got %#v, want %#v", doc, want)
	}
	if got := springIdle(doc); got != 1700000000000+1800_000 {
		t.Errorf("idle until %d", got)
	}
	asJSON := springHash(t, "creationTime", "1", "lastAccessedTime", `["java.lang.Long",1000]`, "maxInactiveInterval", "-1", "sessionAttr:userId", `"alice"`)
	doc = decodeSpring(asJSON)
	if got := springIdle(doc); got != 0 || doc["sessionAttr"].(map[string]any)["userId"] != "alice" {
		t.Errorf("json: got %#v, idle until %d", doc, got)
	}
	// The hash of a session that Spring has deleted may stay for five minutes.
	for name, bad := range map[string]string{
		"nothing": "", "no interval": springHash(t, "creationTime", "1", "lastAccessedTime", "1"), "cut": raw[:len(raw)-1], "text": "abc",
		"too large": springHash(t, "creationTime", "1", "lastAccessedTime", "1", "maxInactiveInterval", "1", "x", strings.Repeat("x", MaxBytes)),
	} {
		if doc := decodeSpring(bad); doc != nil {
			t.Errorf("%s: read as %#v", name, doc)
		}
	}
}

func TestPresent(t *testing.T) {
	for _, v := range []any{nil, "", "0", false, num("0"), map[string]any{}, []any{}, []any{nil, ""}} {
		if Present(v) {
			t.Errorf("%#v counts as a login", v)
		}
	}
	for _, v := range []any{"1", true, num("7"), num("-1"), map[string]any{"id": nil}, []any{num("1")}, Opaque{}} {
		if !Present(v) {
			t.Errorf("%#v does not count as a login", v)
		}
	}
}

// FuzzDecode: no panic, no tree beyond the bounds, and no decoder reads the trees of
// others' data in a way that could not be walked.
func FuzzDecode(f *testing.F) { fuzzDecoder(f, JSON, `{"a":[1,{"b":null}]}`) }

func FuzzPickle(f *testing.F) {
	var seeds []string
	for _, p := range pickles() {
		seeds = append(seeds, unhexText(f, p))
	}
	fuzzDecoder(f, pickle, seeds...)
}

func FuzzMsgpack(f *testing.F) {
	fuzzDecoder(f, decodeFlask, "\x82\xa1k\x92\x01\xc0\xa1d\x81\x01\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "\x81\x01\xd9\x01x")
}

func FuzzPHPSession(f *testing.F) {
	fuzzDecoder(f, phpSession, `a|a:2:{i:0;s:1:"p";s:1:"k";d:1.5;}o|O:8:"stdClass":0:{}`, `a:1:{s:1:"a";b:1;}`)
}

func FuzzLaravelValue(f *testing.F) {
	fuzzDecoder(f, decodeLaravel, `s:6:"a:0:{}";`, `s:2:"{}";`, `s:18:"a:1:{s:1:"x";i:1;}";`)
}

func FuzzRailsValue(f *testing.F) { fuzzDecoder(f, decodeRails, `{"warden.user.user.key":[[5],"x"]}`) }

func FuzzSpring(f *testing.F) {
	fuzzDecoder(f, func(raw string) map[string]any {
		doc := decodeSpring(raw)
		if doc != nil {
			springIdle(doc)
		}
		return doc
	}, springHash(f, "creationTime", javaLong, "lastAccessedTime", javaLong, "maxInactiveInterval", javaInteger, "sessionAttr:a", javaString))
}

func fuzzDecoder(f *testing.F, decode func(string) map[string]any, seeds ...string) {
	for _, s := range seeds {
		if decode(s) == nil {
			f.Fatalf("seed %q is refused", s)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		doc := decode(raw)
		if len(raw) > MaxBytes && doc != nil {
			t.Fatalf("%d bytes were read", len(raw))
		}
		if doc == nil {
			return
		}
		elements := 0
		if !checkTree(t, doc, MaxDepth+1, &elements) || elements > len(raw)+8 {
			t.Fatalf("%d elements, or too deep", elements)
		}
		Present(doc)
	})
}

func checkTree(t *testing.T, v any, depth int, elements *int) bool {
	*elements++
	switch v := v.(type) {
	case nil, bool, string, json.Number, Opaque:
	case map[string]any:
		for _, e := range v {
			if depth == 0 || !checkTree(t, e, depth-1, elements) {
				return false
			}
		}
	case []any:
		for _, e := range v {
			if depth == 0 || !checkTree(t, e, depth-1, elements) {
				return false
			}
		}
	default:
		t.Fatalf("a %T", v)
	}
	return true
}
