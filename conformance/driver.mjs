// Runs the suite's own client and has the suite itself judge every result.
//
// usage: node driver.mjs SUITE-DIR BASE-URL OUTPUT.JSON PARALLEL [ONLY]
// PARALLEL 0 is the suite's own choice. With ONLY, the tests whose id contains it
// (or is it) run one after the other, and their requests and responses are printed.
import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [dir, base, output, parallel, only] = process.argv.slice(2)
const load = file => import(pathToFileURL(path.join(dir, file)))
const has = file => fs.existsSync(path.join(dir, file))

// The package on npm and the repository lay their files out in two ways, and the
// package's client wants node-fetch passed in.
const isPackage = has('client/runner.mjs')
const engine = isPackage ? '' : 'test-engine/'
const { runTests, getResults } = await load(engine + 'client/runner.mjs')
const { determineTestResult } = await load(engine + (isPackage ? 'lib/display.mjs' : 'lib/results.mjs'))
const suites = (await load('tests/index.mjs')).default
if (isPackage) suites.push((await load('tests/surrogate-control.mjs')).default)

const verdicts = new Map([
  ['-', 'untested'], ['✅', 'pass'], ['⛔️', 'fail'], ['⚠️', 'optional_fail'], ['Y', 'yes'], ['N', 'no'],
  ['🔹', 'setup_fail'], ['⁉️', 'harness_fail'], ['⚪️', 'dependency_fail'], ['↻', 'retry']
])
const targeted = new Set(['cdn-cache-control', 'surrogate-control'])

function judge (results, chosen, honorDependencies) {
  return chosen.map(suite => ({
    id: suite.id,
    name: suite.name,
    targeted: targeted.has(suite.id),
    tests: suite.tests.filter(test => test.browser_only !== true).map(test => ({
      id: test.id,
      name: test.name,
      kind: test.kind || 'required',
      verdict: verdicts.get(determineTestResult(suites, test.id, results, honorDependencies)[2]),
      reason: Array.isArray(results[test.id]) ? results[test.id].join(': ') : undefined
    }))
  }))
}

function select (only) {
  if (!only) return suites
  const exact = suites.some(suite => suite.tests.some(test => test.id === only))
  return suites.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => exact ? test.id === only : test.id.includes(only))
  })).filter(suite => suite.tests.length > 0)
}

const chosen = select(only)
if (only) chosen.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
const chunk = only ? 1 : (Number(parallel) || undefined)
if (isPackage) {
  const fetch = createRequire(path.join(dir, 'cli.mjs'))('node-fetch')
  await runTests(chosen, fetch, false, base, chunk)
} else {
  await runTests(chosen, false, base, chunk)
}
const report = { suites: judge(getResults(), chosen, !only) }
fs.writeFileSync(output, JSON.stringify(report))
// Kept-alive connections would hold the process.
process.exit(0)
