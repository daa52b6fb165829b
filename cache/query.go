package cache

import (
	"bytes"
	"fmt"
	"slices"
)

// QueryFilter is a compiled Query. It is immutable and safe for concurrent use.
type QueryFilter struct {
	ignore, only []string
	sort         bool
}

// CompileQuery compiles a rule's query settings; nil means that every parameter
// takes part. The error names the setting that cannot be used.
func CompileQuery(q Query) (*QueryFilter, error) {
	for i, glob := range q.Ignore {
		if glob == "" {
			return nil, fmt.Errorf("query.ignore[%d] is empty: write a parameter name or a glob such as \"utm_*\"", i)
		}
	}
	for i, glob := range q.Only {
		if glob == "" {
			return nil, fmt.Errorf("query.only[%d] is empty: write a parameter name or a glob such as \"page*\"", i)
		}
	}
	if len(q.Ignore)+len(q.Only) == 0 && !q.Sort {
		return nil, nil
	}
	return &QueryFilter{ignore: slices.Clone(q.Ignore), only: slices.Clone(q.Only), sort: q.Sort}, nil
}

// append writes "?" and the parameters that take part, in their order or sorted.
// When all parameters were left out, so is the "?": /a?utm_source=x is /a.
func (f *QueryFilter) append(dst, query []byte) []byte {
	if f == nil {
		return append(append(dst, '?'), query...)
	}
	start := len(dst)
	for more := true; more; {
		var param []byte
		param, query, more = bytes.Cut(query, []byte{'&'})
		if f.ignores(param) {
			continue
		}
		sep := byte('&')
		if len(dst) == start {
			sep = '?'
		}
		dst = append(append(dst, sep), param...)
	}
	if f.sort && len(dst) > start {
		sortParams(dst[start+1:])
	}
	return dst
}

// ignores reports whether a parameter is left out. Names are compared as they
// were sent: an encoded spelling only gets an entry of its own. A parameter with
// a ";" always takes part: where the application takes ";" for a separator,
// "utm_x=1;id=2" would hide an id in a parameter that the key ignores, and let
// one client choose the response that others get (cache poisoning).
func (f *QueryFilter) ignores(param []byte) bool {
	if bytes.IndexByte(param, ';') >= 0 || (len(param) == 0 && len(f.only) == 0) {
		return false
	}
	name, _, _ := bytes.Cut(param, []byte{'='})
	if len(f.only) > 0 && !matchesGlob(f.only, name) {
		// The application may decode what "only" cannot match: "%69d" is an id.
		return bytes.IndexByte(name, '%') < 0 && bytes.IndexByte(name, '+') < 0
	}
	return matchesGlob(f.ignore, name)
}

func matchesGlob(globs []string, name []byte) bool {
	for _, glob := range globs {
		if matchGlob(glob, name) {
			return true
		}
	}
	return false
}

// The bounds of what is sorted, on the stack. A longer query keeps its order.
const (
	maxSortParams = 64
	maxSortBytes  = 1024
)

// sortParams sorts the parameters of a query by name, in place. Those of one name
// keep their order, which carries meaning in most applications.
func sortParams(b []byte) {
	var copied [maxSortBytes]byte
	var params [maxSortParams][]byte
	if len(b) > len(copied) {
		return
	}
	n := 0
	for rest, more := copied[:copy(copied[:], b)], true; more; n++ {
		if n == len(params) {
			return
		}
		params[n], rest, more = bytes.Cut(rest, []byte{'&'})
	}
	list := params[:n]
	for i := range list { // an insertion sort: see sortShort
		for j := i; j > 0 && bytes.Compare(paramName(list[j]), paramName(list[j-1])) < 0; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	out := 0
	for i, p := range list {
		if i > 0 {
			b[out] = '&'
			out++
		}
		out += copy(b[out:], p)
	}
}

func paramName(param []byte) []byte {
	if eq := bytes.IndexByte(param, '='); eq >= 0 {
		return param[:eq]
	}
	return param
}
