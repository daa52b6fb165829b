// Package hotpath holds what a request costs against a baseline, in counts that do not
// depend on how busy the machine is. "make hotpath" runs it, and so does "make test".
//
//   - allocations, as the program counts them;
//   - calls: the system calls that read or write, where perf may count them;
//   - instructions, in user space, the runtime's scheduler among them, where there is
//     valgrind: its tool callgrind runs the program and counts by itself, so the machine
//     needs no counter. What differs between processors is switched off.
//
// A count that has grown by more than 10 % fails the test. HOTPATH="-functions 30" shows
// where the instructions go, to compare with those of another commit; "make profile"
// shows time and allocations. When the growth is meant, HOTPATH=-update writes the new
// baseline, which is committed with the change and said in its message.
//
// Instructions and allocations are of one minor version of Go, and instructions of one
// architecture; the baseline's lines say which. Another has nothing to compare with
// until HOTPATH=-update has added its lines. CI fails for want of them, and of valgrind;
// elsewhere the test says so under -v. Lines of versions that are no longer in use are
// removed by hand.
package hotpath
