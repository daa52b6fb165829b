package redisconn

import "slices"

// sizeClass is a size that the allocator rounds up to, and what an object of it takes:
// its share of a span, whose end may be too small for one more.
type sizeClass struct{ size, takes int }

// From maxSmall on the allocator gives whole pages.
const (
	maxSmall = 32 << 10
	page     = 8 << 10
	// classStep is in what steps the allocator makes a class larger, as long as a span
	// has room for as many.
	classStep = 128
	// tiny is what several smaller objects share, and each of them can hold on to.
	tiny = 16
)

// sizeClasses asks the allocator what it rounds small sizes up to: up to an eighth
// more, which for memory full of values of one size would be an eighth over the limit.
func sizeClasses() []sizeClass {
	var classes []sizeClass
	for n := 0; n < maxSmall; {
		n = cap(append([]byte(nil), make([]byte, n+1)...))
		classes = append(classes, sizeClass{n, share(n)})
	}
	return classes
}

// share is what an object of a class takes of its span. The runtime does not tell the
// span's length: it is the least that would not have let the class be a step larger.
func share(class int) int {
	span := page
	for span < class || span/(span/class) >= class+classStep {
		span += page
	}
	n := span / class
	return (span + n - 1) / n
}

// allocated gives what n bytes take in memory.
func (m *memory) allocated(n int) int64 {
	switch {
	case n == 0:
		return 0
	case n > maxSmall:
		return int64(n+page-1) / page * page
	}
	i, _ := slices.BinarySearchFunc(m.classes, max(n, tiny), func(c sizeClass, n int) int { return c.size - n })
	return int64(m.classes[i].takes)
}
