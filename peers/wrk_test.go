package peers

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// testWrk has 50 connections ask for two seconds: each answer is a good one.
func testWrk(t *testing.T, p *pair) {
	wrk := need(t, "wrk", "wrk")
	for name, control := range map[string]string{"cached": "max-age=600", "uncached": "no-store"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			// wrk counts what is slower than its timeout as an error: how fast is not the question.
			cmd := exec.CommandContext(ctx, wrk, "-t2", "-c50", "-d2s", "--timeout", "30s", p.proxy+"/file?n=1000&control="+control)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			line := regexp.MustCompile(`[1-9]\d* requests in .*`).Find(out)
			if line == nil || strings.Contains(string(out), "Socket errors") || strings.Contains(string(out), "Non-2xx") {
				t.Errorf("wrk says:\n%s", out)
			}
			t.Logf("%s", line)
		})
	}
}
