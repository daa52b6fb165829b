// Package hotpath holds what a request costs against a baseline, in counts that do not
// depend on how busy the machine is: allocations, system calls that read or write, and,
// where the processor counts them for perf, instructions. "make hotpath" runs it.
package hotpath
