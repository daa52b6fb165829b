package main

import (
	"bytes"
	"fmt"
	"strings"
)

const intro = `# Conformance of the cache

<!-- Written by make conformance. Do not edit: explanations are in conformance/deviations.yaml. -->

This is what pillion %[1]s makes of [http-cache-tests](%[2]s), the public suite
behind [cache-tests.fyi](https://cache-tests.fyi). The suite runs against a real pillion between the suite's own client and its own
origin, with [an ordinary configuration](../conformance/config.yaml). The suite itself judges each result:

- a **required** test that fails is probably against the specification;
- an **optimal** test that fails is a stored response that was not used although it could have been;
- a **check** only records behaviour: neither answer is wrong.

A test whose setup failed, or that depends on another that failed, has not passed. Tests that only a browser can run are left out.

## The two copies of the suite

The suite exists twice under one version number, %[3]s. No part of it is in this project.

- **The package on npm** is the older copy. ` + "`make conformance`" + ` installs it, at exactly this version, into the user's cache folder, and runs it.
- **The repository** has the tests of the published results. They run too when there is a checkout:

      git clone %[2]s
      make conformance SUITE_DIR=/path/to/cache-tests

  ` + "`HTTP_CACHE_TESTS_DIR`" + ` in the environment gives the folder likewise. The checkout is not written to, and needs no ` + "`npm install`" + `.

` + "`CONFORMANCE`" + ` passes flags on: ` + "`CONFORMANCE=\"-suite repository\"`" + ` runs one copy alone (the other is ` + "`npm`" + `),
` + "`CONFORMANCE=\"-only ID\"`" + ` shows the requests and responses of one test, or of all whose ids contain it. A run needs Node.js 20 or later,
npm, Go and redis-server.

No cache can pass both copies, because they contradict each other:

- **Age parsing**, 7 required tests (` + "`age-parse-nonnumeric`, `-negative`, `-float`, `-prefix-twoline`, `-dup-0`, `-dup-0-twoline`, `-dup-old`" + `).
  For an ` + "`Age`" + ` that is invalid or has several values, the package asks that the response be taken for stale; the repository asks that an invalid
  value be ignored and the first of several be used, as RFC 9111 §5.1 says. A cache that passes these tests in one copy fails them in the other.
- **Serving stale**, 4 required tests (` + "`stale-close-must-revalidate`, `-proxy-revalidate`, `-no-cache`, `-s-maxage=2`" + `). The origin closes the
  connection without an answer, and the package asks for a response that carries a field from that origin. The repository asks for no such field.

Beyond that, the package has tests of ` + "`Surrogate-Control`" + `, and requires updates of certain fields by a 304, and invalidation of ` + "`Location`" + ` and
` + "`Content-Location`" + `, which are checks in the repository. The repository has tests of ` + "`CDN-Cache-Control`" + ` (RFC 9213) and of interim responses,
which the package lacks.

The last run, the one below, was of %[4]s.
`

// page is what docs/conformance.md is made of.
type page struct {
	reports []*report
	why     deviations
	others  published
	version string // of pillion
}

// markdown is the page for readers.
func (p page) markdown() []byte {
	var b bytes.Buffer
	var ran []string
	for _, r := range p.reports {
		ran = append(ran, r.title)
	}
	which := strings.Join(ran, ", and ")
	if len(ran) == 1 {
		which += ", alone"
	}
	fmt.Fprintf(&b, intro, p.version, suiteURL, npmVersion, which)
	for _, r := range p.reports {
		fmt.Fprintf(&b, "\n## Results: %s\n\n", r.title)
		p.writeTotals(&b, r)
		writeSuites(&b, r)
		for _, kind := range []string{kindRequired, kindOptimal} {
			writeFailed(&b, r.failed(kind), kind, p.why)
		}
	}
	return b.Bytes()
}

// writeTotals compares with other caches where the suite's authors publish results
// of the same tests: those of the package are of 2020, and of other tests.
func (p page) writeTotals(b *bytes.Buffer, r *report) {
	field := "CDN-Cache-Control"
	if r.from == copyNPM {
		field = "Surrogate-Control"
	} else {
		fmt.Fprintf(b, "The other caches' numbers are counted from the results that the suite's authors publish, as of commit %s of %s.\n\n", p.others.Commit, p.others.Date)
	}
	fmt.Fprintf(b, "| Cache | Required | Optimal | `%[1]s` required | `%[1]s` optimal |\n|---|---:|---:|---:|---:|\n", field)
	writeRow(b, "**pillion** "+p.version, [4]tally{
		r.count(coreSuite, kindRequired), r.count(coreSuite, kindOptimal),
		r.count(targetedSuite, kindRequired), r.count(targetedSuite, kindOptimal),
	})
	if r.from == copyNPM {
		return
	}
	for _, other := range p.others.Peers {
		writeRow(b, other.Name+" "+other.Version, other.of(p.others.Tests))
	}
}

func writeRow(b *bytes.Buffer, name string, shares [4]tally) {
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", cell(name), shares[0], shares[1], shares[2], shares[3])
}

// writeSuites writes the numbers of each group of tests.
func writeSuites(b *bytes.Buffer, r *report) {
	fmt.Fprint(b, "\n| Tests | Required | Optimal | Checks |\n|---|---:|---:|---:|\n")
	for _, s := range r.Suites {
		one := []suite{s}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", cell(s.Name), count(one, anySuite, kindRequired), count(one, anySuite, kindOptimal), count(one, anySuite, kindCheck))
	}
}

func writeFailed(b *bytes.Buffer, failed []test, kind string, why deviations) {
	if len(failed) == 0 {
		fmt.Fprintf(b, "\nEvery %s test passes.\n", kind)
		return
	}
	fmt.Fprintf(b, "\n### %s tests that do not pass: %d\n\n| Test | What it asks | What happened | Explanation |\n|---|---|---|---|\n", strings.ToUpper(kind[:1])+kind[1:], len(failed))
	for _, t := range failed {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", t.ID, cell(t.Name), cell(t.why()), cell(why[t.ID]))
	}
}

// cell makes text fit into a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;").Replace(s)
}
