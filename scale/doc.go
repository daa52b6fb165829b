// Package scale holds tests that put the program under much: bodies of gigabytes,
// streams that outlive every timeout, thousands of idle connections. `make test`
// runs them in small, `make scale` in full.
package scale
