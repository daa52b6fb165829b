package peers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

// curl is the program curl, and the pair that it talks to.
type curl struct {
	*pair
	path string
}

// result is what curl wrote: the body, the header blocks, and -v's and -w's lines.
type result struct{ body, header, log string }

// run executes curl; the test fails when it does.
func (c *curl) run(t *testing.T, stdin io.Reader, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := filepath.Join(t.TempDir(), "header")
	args = append([]string{"-sS", "-D", header}, args...)
	cmd := exec.CommandContext(ctx, c.path, args...)
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, log.String())
	}
	h, err := os.ReadFile(header)
	if err != nil {
		t.Fatal(err)
	}
	return result{out.String(), string(h), log.String()}
}

// status checks the last status line, and that the header has the lines.
func (r result) status(t *testing.T, code int, lines ...string) {
	t.Helper()
	codes := regexp.MustCompile(`(?m)^HTTP/1\.[01] (\d+)`).FindAllStringSubmatch(r.header, -1)
	if len(codes) == 0 || codes[len(codes)-1][1] != fmt.Sprint(code) {
		t.Fatalf("want status %d:\n%s", code, r.header)
	}
	for _, line := range lines {
		if !strings.Contains(strings.ToLower(r.header), strings.ToLower(line)) {
			t.Errorf("want %q:\n%s", line, r.header)
		}
	}
}

// intact compares the body with the digest that the application sent along.
func (r result) intact(t *testing.T) {
	t.Helper()
	if want := "x-sha256: " + digest(r.body); !strings.Contains(strings.ToLower(r.header), want) {
		t.Errorf("a body of %d bytes is not what was sent:\n%s", len(r.body), r.header)
	}
}

func digest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// echoed checks what the application says that it got.
func (r result) echoed(t *testing.T, method string, body []byte) {
	t.Helper()
	var got struct {
		Method, SHA256 string
		Length         int
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	if got.Method != method || got.Length != len(body) || got.SHA256 != digest(string(body)) {
		t.Errorf("the application got %s with %d bytes, %s", got.Method, got.Length, got.SHA256)
	}
}

func testCurl(t *testing.T, p *pair) {
	c := &curl{pair: p, path: need(t, "curl", "curl")}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"GET and HEAD", c.getAndHead}, {"POST with Expect", c.expect}, {"PUT chunked", c.putChunked},
		{"range", c.ranges}, {"HTTP 1.0", c.http10}, {"compressed", c.compressed}, {"raw", c.raw},
		{"keep-alive", c.keepAlive}, {"abort", c.abort}, {"resume", c.resume},
	} {
		t.Run(test.name, test.run)
	}
}

// controls make a response that is stored, and one that is not.
func controls() []string { return []string{"&control=max-age=600", "&control=no-store"} }

func (c *curl) getAndHead(t *testing.T) {
	for _, control := range controls() {
		url := c.proxy + "/file?n=100000" + control
		for range 2 {
			r := c.run(t, nil, url)
			r.status(t, 200, "Content-Length: 100000")
			r.intact(t)
		}
		if r := c.run(t, nil, "--head", url); strings.Contains(r.body, "000000000000016") {
			t.Error("a body in the response to HEAD")
		} else {
			r.status(t, 200, "Content-Length: 100000")
		}
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func (c *curl) expect(t *testing.T) {
	body := random(5 << 20)
	r := c.run(t, bytes.NewReader(body), "-v", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", "@-", c.proxy+"/echo")
	r.status(t, 200)
	r.echoed(t, "POST", body)
	if !strings.Contains(r.log, "100 Continue") {
		t.Errorf("no 100 Continue:\n%s", r.log)
	}
}

func (c *curl) putChunked(t *testing.T) {
	body := random(5 << 20)
	r := c.run(t, bytes.NewReader(body), "-v", "-T", "-", c.proxy+"/echo")
	r.status(t, 200)
	r.echoed(t, "PUT", body)
	if !strings.Contains(r.log, "Transfer-Encoding: chunked") {
		t.Errorf("curl did not send chunks:\n%s", r.log)
	}
}

func (c *curl) ranges(t *testing.T) {
	for _, control := range controls() {
		url := c.proxy + "/file?n=50000" + control
		whole := c.run(t, nil, url).body
		r := c.run(t, nil, "-r", "100-299", url)
		r.status(t, 206, "Content-Range: bytes 100-299/50000", "Content-Length: 200")
		if r.body != whole[100:300] {
			t.Errorf("another part: %.40q", r.body)
		}
	}
}

func (c *curl) http10(t *testing.T) {
	for _, path := range []string{"/file?n=50000", "/chunked?n=50000"} {
		for _, control := range controls() {
			for range 2 {
				r := c.run(t, nil, "--http1.0", c.proxy+path+control)
				r.status(t, 200)
				r.intact(t)
				if strings.Contains(strings.ToLower(r.header), "transfer-encoding") {
					t.Errorf("%s: a transfer coding for HTTP/1.0:\n%s", path, r.header)
				}
			}
		}
	}
}

func (c *curl) compressed(t *testing.T) {
	for _, control := range controls() {
		for range 2 {
			r := c.run(t, nil, "--compressed", c.proxy+"/gzip?a=b"+control)
			r.status(t, 200, "Content-Encoding: gzip")
			r.intact(t)
		}
		plain := c.run(t, nil, c.proxy+"/gzip?a=b"+control)
		if plain.intact(t); strings.Contains(strings.ToLower(plain.header), "content-encoding") {
			t.Errorf("a coding that was not asked for:\n%s", plain.header)
		}
	}
}

// raw looks at the chunks themselves.
func (c *curl) raw(t *testing.T) {
	r := c.run(t, nil, "--raw", c.proxy+"/chunked?n=50000")
	r.status(t, 200, "Transfer-Encoding: chunked")
	if !strings.HasSuffix(r.body, "\r\n0\r\n\r\n") {
		t.Errorf("the body ends with %q", r.body[max(0, len(r.body)-20):])
	}
	body, err := io.ReadAll(httputil.NewChunkedReader(bufio.NewReader(strings.NewReader(r.body))))
	if err != nil {
		t.Fatal(err)
	}
	result{string(body), r.header, ""}.intact(t)
}

func (c *curl) keepAlive(t *testing.T) {
	for _, paths := range [][2]string{
		{"/file?n=1000&control=max-age=600", "/file?n=2000"},
		{"/chunked?n=50000", "/echo"}, {"/file?n=100000", "/chunked?n=1000&control=max-age=600"},
	} {
		r := c.run(t, nil, "-o", os.DevNull, "-o", os.DevNull, "-w", "%{http_code} %{num_connects}\n", c.proxy+paths[0], c.proxy+paths[1])
		if want := []string{"200 1", "200 0"}; !slices.Equal(strings.Split(strings.TrimSpace(r.body), "\n"), want) {
			t.Errorf("%v: status and new connections %q, want %q", paths, r.body, want)
		}
	}
}

// abort ends curl in the middle: the application is told.
func (c *curl) abort(t *testing.T) {
	before := c.state(t).Aborts
	cmd := exec.Command(c.path, "-sS", "--no-buffer", c.proxy+"/endless")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, out, 1<<20); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	programtest.Eventually(t, patience, "the application sees that the client has gone", func() bool {
		return c.state(t).Aborts > before
	})
}

func (c *curl) resume(t *testing.T) {
	for _, control := range controls() {
		for _, size := range []int{300_000, 3_000_000} { // stored, and too large for that
			url := fmt.Sprintf("%s/file?n=%d%s", c.proxy, size, control)
			whole := c.run(t, nil, url).body
			file := filepath.Join(t.TempDir(), "part")
			if err := os.WriteFile(file, []byte(whole[:size/3]), 0o600); err != nil {
				t.Fatal(err)
			}
			c.run(t, nil, "-C", "-", "-o", file, url).status(t, 206)
			got, err := os.ReadFile(file)
			if err != nil || string(got) != whole {
				t.Errorf("%s: %d bytes that differ from the %d, %v", url, len(got), size, err)
			}
		}
	}
}
