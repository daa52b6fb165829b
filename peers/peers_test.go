package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// patience bounds each step with a peer, and the whole of a peer's script.
const (
	patience   = 60 * time.Second
	scriptTime = 3 * time.Minute
)

const config = `
cache: { memory: 32MiB }
rules:
  - { name: all, match: { path: "/**" }, session: none }
`

// pair is an application, and the program in front of it.
type pair struct {
	app    string // URL
	proxy  string // URL
	python string // an interpreter that has websockets, or ""
}

// TestPeers runs every client against the program in front of every application.
func TestPeers(t *testing.T) {
	binary := programtest.Build(t)
	for name, start := range map[string]func(*testing.T) string{"fastapi": startFastAPI, "node": startNode} {
		t.Run(name, func(t *testing.T) {
			app := start(t)
			p := programtest.Start(t, binary, programtest.Options{
				Config: config, Redis: "redis://" + redistest.Start(t).Addr, Upstream: app,
				Env: []string{"PILLION_REDIS_TIMEOUT=5s", "PILLION_REDIS_MAX_STALENESS=5s"},
			})
			pr := &pair{app: app, proxy: p.URL(), python: pythonWith("websockets")}
			for _, peer := range []struct {
				name string
				run  func(*testing.T, *pair)
			}{
				{"curl", testCurl}, {"wrk", testWrk}, {"python", testPython}, {"node", testNode}, {"chromium", testChromium},
			} {
				t.Run(peer.name, func(t *testing.T) { peer.run(t, pr) })
			}
			p.Stop()
		})
	}
}

// missing skips a test for want of a program or a package.
func missing(t *testing.T, what, pkg string) {
	t.Helper()
	t.Skipf("NOT TESTED: %s is not installed, Debian package %s: .ci/install-deps installs it", what, pkg)
}

// need gives the path of a program.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program, pkg)
	}
	return path
}

// pythonWith gives an interpreter that has the modules, or "".
func pythonWith(modules string) string {
	for _, python := range []string{os.Getenv("PYTHON"), "python3", "/usr/bin/python3"} {
		if python != "" && exec.Command(python, "-c", "import "+modules).Run() == nil {
			return python
		}
	}
	return ""
}

func startFastAPI(t *testing.T) string {
	python := pythonWith("fastapi, uvicorn, websockets")
	if python == "" {
		missing(t, "FastAPI, uvicorn or websockets for Python", "python3-fastapi python3-uvicorn python3-websockets")
	}
	return startApp(t, python, "app.py")
}

func startNode(t *testing.T) string {
	node := need(t, "node", "nodejs")
	needModule(t, node, "ws")
	return startApp(t, node, "app.cjs")
}

func needModule(t *testing.T, node, module string) {
	t.Helper()
	cmd := exec.Command(node, "-e", "require('"+module+"')")
	if cmd.Env = nodeEnv(); cmd.Run() != nil {
		missing(t, module+" for Node", "node-"+module)
	}
}

// nodeEnv lets a Node that is not the distribution's find the packages of that.
func nodeEnv() []string {
	return append(os.Environ(), "NODE_PATH="+os.Getenv("NODE_PATH")+":/usr/share/nodejs:/usr/lib/nodejs")
}

// startApp runs an application until the test ends.
func startApp(t *testing.T, interpreter, script string) (url string) {
	addr := apptest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(interpreter, filepath.Join("testdata", script), port)
	cmd.Env = nodeEnv()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s:\n%s", script, out.String())
		}
	})
	programtest.Eventually(t, patience, script+" answers", func() bool {
		resp, err := http.Get("http://" + addr + "/state")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	return "http://" + addr
}

// state is what the application tells about itself.
type state struct {
	Aborts  int
	Reports []map[string]string
}

// state asks the application, past the program.
func (p *pair) state(t *testing.T) (s state) {
	t.Helper()
	resp, err := http.Get(p.app + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// runChecks runs a script that prints "ok NAME" or "not ok NAME: WHY" for each of its
// checks and "done" at the end; each is a subtest.
func runChecks(t *testing.T, least int, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = nodeEnv()
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	n, done := 0, false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		name, ok := strings.CutPrefix(line, "ok ")
		why, failed := strings.CutPrefix(line, "not ok ")
		switch {
		case ok:
			t.Run(name, func(*testing.T) {})
		case failed:
			name, why, _ = strings.Cut(why, ": ")
			t.Run(name, func(t *testing.T) { t.Error(why) })
		case line == "done":
			done = true
			continue
		default:
			continue
		}
		n++
	}
	if err != nil || !done || n < least {
		t.Errorf("%d checks of at least %d, finished: %v, %v\n%s", n, least, done, err, out)
	}
}

func testPython(t *testing.T, p *pair) {
	if p.python == "" {
		missing(t, "websockets for Python", "python3-websockets")
	}
	runChecks(t, 10, p.python, filepath.Join("testdata", "client.py"), p.proxy)
}

func testNode(t *testing.T, p *pair) {
	node := need(t, "node", "nodejs")
	needModule(t, node, "ws")
	needModule(t, node, "undici")
	runChecks(t, 14, node, filepath.Join("testdata", "client.cjs"), p.proxy)
}
