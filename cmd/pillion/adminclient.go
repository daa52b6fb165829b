package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
)

// adminClient talks to the admin listener of a running pillion.
type adminClient struct {
	base, token string
	http        *http.Client
}

// adminFlags are the flags of commands that talk to the admin listener.
type adminFlags struct{ config, address, token string }

func (p *program) adminFlags(cmd *cobra.Command, f *adminFlags) {
	p.configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.address, "admin", "", "address of the admin listener, host:port (default: admin.listen of the configuration)")
	cmd.Flags().StringVar(&f.token, "token", "", "bearer token (default: admin.token of the configuration)")
}

// admin finds the listener: from the flags, else from the configuration, and where
// there is no file, at the default address.
func (p *program) admin(f adminFlags) (*adminClient, error) {
	address, token := f.address, f.token
	if address == "" {
		cfg, err := p.loadOrDefault(f.config)
		if err != nil {
			return nil, fmt.Errorf("give --admin host:port, or a valid configuration:\n%w", err)
		}
		address = cfg.Admin.Listen
		if token == "" {
			token = cfg.Admin.Token
		}
	}
	if token == "" {
		token = p.getenv("PILLION_ADMIN_TOKEN")
	}
	if address == "" || address == pillion.Off {
		return nil, errors.New("admin.listen is off: there is nothing to ask")
	}
	c := &adminClient{token: token, http: &http.Client{Timeout: 10 * time.Second}}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://localhost"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return c, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usageError{fmt.Errorf("--admin %q: write host:port", address)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	c.base = "http://" + net.JoinHostPort(host, port)
	return c, nil
}

// loadOrDefault loads the configuration; where none was named and there is no
// config.yaml, what the environment says beside the defaults.
func (p *program) loadOrDefault(file string) (pillion.Config, error) {
	if file == "" && p.getenv("PILLION_CONFIG") == "" {
		if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
			return pillion.Load(pillion.LoadOptions{Data: []byte("\n"), Env: p.env, DotEnv: "off", AllowEnv: ownVariables()})
		}
	}
	cfg, _, err := p.load(file)
	return cfg, err
}

// call sends a request with a JSON body; see send.
func (c *adminClient) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, bytes.NewReader(data))
}

// send sends a request and gives the answer's body. A status of 400 or above is an
// error with the answer's detail.
func (c *adminClient) send(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	answer, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return io.ReadAll(io.LimitReader(answer, maxAnswer))
}

// maxAnswer bounds an answer that is held in memory.
const maxAnswer = 16 << 20

// open is send for an answer that may be large: the caller reads and closes it. Header
// is name, value, name, value.
func (c *adminClient) open(ctx context.Context, method, path string, body io.Reader, header ...string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no pillion answers at %s: %w", c.base, err)
	}
	if resp.StatusCode < 400 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
		problem.Detail = strings.TrimSpace(string(text))
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, problem.Detail)
}

// healthClient is admin for a health check. A file that has got a mistake since the
// start, or that this process was not started with, does not make it unhealthy: it keeps
// its last good configuration, and would not start again with this one.
func (p *program) healthClient(f adminFlags) (*adminClient, error) {
	c, err := p.admin(f)
	var mistakes *pillion.ConfigError
	if !errors.As(err, &mistakes) || mistakes.AdminListen == "" {
		return c, err
	}
	fmt.Fprintf(p.stderr, "pillion: asking at %s, though the configuration has mistakes:\n%v\n", mistakes.AdminListen, mistakes)
	f.address = mistakes.AdminListen
	return p.admin(f)
}

func (p *program) healthCommand() *cobra.Command {
	var f adminFlags
	var ready bool
	cmd := plain(&cobra.Command{
		Use:   "health",
		Short: "Ask a running pillion whether it is alive; for a container's health check",
	})
	p.adminFlags(cmd, &f)
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready for requests")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := p.healthClient(f)
		if err != nil {
			return err
		}
		path := "/healthz"
		if ready {
			path = "/readyz"
		}
		text, err := c.call(cmd.Context(), http.MethodGet, path, nil)
		if err == nil {
			_, err = p.stdout.Write(text)
		}
		return err
	}
	return cmd
}

// purgeBody is what POST /purge takes.
type purgeBody struct {
	Tag    string `json:"tag,omitempty"`
	URL    string `json:"url,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Glob   string `json:"glob,omitempty"`
	All    bool   `json:"all,omitempty"`
	Soft   bool   `json:"soft,omitempty"`
}

func (p *program) purgeCommand() *cobra.Command {
	var f adminFlags
	var body purgeBody
	cmd := plain(&cobra.Command{
		Use:   "purge (--tag TAG | --url URL | --prefix URL | --glob URL | --all) [--soft]",
		Short: "Make stored responses invalid, on every pod",
	})
	p.adminFlags(cmd, &f)
	flags := cmd.Flags()
	flags.StringVar(&body.Tag, "tag", "", "purge every response with this tag: one write, however many there are")
	flags.StringVar(&body.URL, "url", "", "purge the public response of this URL: http://host/path?query, with the host that clients ask for")
	flags.StringVar(&body.Prefix, "prefix", "", "purge every URL that begins so: http://host/path, or /path for every host")
	flags.StringVar(&body.Glob, "glob", "", "purge every URL that matches, with * for any characters: http://host/*.css, or /*.css for every host")
	flags.BoolVar(&body.All, "all", false, "purge everything")
	flags.BoolVar(&body.Soft, "soft", false, "mark as stale instead of removing")
	what := []string{"tag", "url", "prefix", "glob", "all"}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n := 0
		for _, name := range what {
			if flags.Changed(name) {
				n++
			}
		}
		if n != 1 {
			return usageError{errors.New("purge: give exactly one of --tag, --url, --prefix, --glob and --all")}
		}
		c, err := p.admin(f)
		if err != nil {
			return err
		}
		c.http.Timeout = 5 * time.Minute // a purge that scans takes its time
		text, err := c.call(cmd.Context(), http.MethodPost, "/purge", body)
		if err == nil {
			_, err = p.stdout.Write(text)
		}
		return err
	}
	return cmd
}
