package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/target"
)

// targetCommand measures a deployment of the user's own.
func targetCommand() *cobra.Command {
	var o target.Options
	var headers []string
	var report string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "target URL",
		Short: "Send a steady rate of requests to a deployment of your own, and report latencies",
		Args:  cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.Float64Var(&o.Rate, "rate", 100, "requests a second")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "for how long")
	f.IntVar(&o.Connections, "connections", 64, "most connections")
	f.StringVar(&o.Method, "method", http.MethodGet, "method")
	f.StringVar(&o.Body, "body", "", "body of each request")
	f.StringArrayVarP(&headers, "header", "H", nil, `field of each request, "Name: value"; may be given again`)
	f.BoolVar(&o.Insecure, "insecure", false, "take any certificate")
	f.StringVar(&report, "report", "", "file for a report in HTML")
	f.BoolVar(&quiet, "quiet", false, "show no progress")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		o.URL = args[0]
		if o.Header, err = parseHeaders(headers); err != nil {
			return err
		}
		if err := o.Check(); err != nil {
			return err
		}
		if !quiet {
			bar := progressbar.NewOptions(o.Requests(), progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionShowCount(),
				progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
			o.Progress = func() { _ = bar.Add(1) }
			defer bar.Close()
		}
		out, err := target.Run(cmd.Context(), o)
		if err != nil {
			return err
		}
		return errors.Join(out.Print(cmd.OutOrStdout()), writeHTML(report, out))
	}
	return cmd
}

func parseHeaders(lines []string) (http.Header, error) {
	h := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--header %q: write it as \"Name: value\"", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}

func writeHTML(path string, o *target.Outcome) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(o.HTML(f), f.Close())
}
