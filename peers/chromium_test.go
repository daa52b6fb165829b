package peers

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

// pageChecks is how many checks page.html has.
const pageChecks = 7

// testChromium loads page.html through the program; the page posts what it found.
func testChromium(t *testing.T, p *pair) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		path = need(t, "chromium-browser", "chromium")
	}
	before := len(p.state(t).Reports)
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
		"--user-data-dir="+t.TempDir(), p.proxy+"/page")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children: the group is ended
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("output of chromium:\n%s", out.String())
		}
	}()
	var report map[string]string
	programtest.Eventually(t, 2*patience, "the page posts its report", func() bool {
		if reports := p.state(t).Reports; len(reports) > before {
			report = reports[before]
		}
		return report != nil
	})
	for name, why := range report {
		t.Run(name, func(t *testing.T) {
			if why != "ok" {
				t.Error(why)
			}
		})
	}
	if len(report) != pageChecks {
		t.Errorf("%d checks, want %d: %v", len(report), pageChecks, report)
	}
}
