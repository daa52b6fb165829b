package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server of a measurement, without persistence.
type Redis struct {
	*Process
	Addr string // host:port
	*redis.Client
}

// StartRedis starts a redis-server that may use the cores, nil for all.
func StartRedis(ctx context.Context, dir string, cores []int) (*Redis, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not on PATH: install the package redis-server, or run make bench-deps")
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	p, err := Start(Spec{Name: "redis-server", Path: path, Dir: dir, Cores: cores, Args: []string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--daemonize", "no",
	}})
	if err != nil {
		return nil, err
	}
	r := &Redis{Process: p, Addr: addr, Client: redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})}
	if err := p.WaitTCP(ctx, addr); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// Stop ends the connection and the server.
func (r *Redis) Stop() error { return errors.Join(r.Client.Close(), r.Process.Stop()) }

// Version asks for the server's version.
func (r *Redis) Version(ctx context.Context) (string, error) {
	text, err := r.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	return infoValue(text, "redis_version"), nil
}

func infoValue(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Commands counts the commands that the server has executed, those within scripts too,
// save those of this client: info and config.
func (r *Redis) Commands(ctx context.Context) (int64, error) {
	text, err := r.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	return parseCommandStats(text)
}

// parseCommandStats reads lines such as "cmdstat_get:calls=21,usec=175,…".
func parseCommandStats(text string) (int64, error) {
	var sum int64
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "cmdstat_")
		if !ok || strings.HasPrefix(rest, "info") || strings.HasPrefix(rest, "config") {
			continue
		}
		_, calls, ok := strings.Cut(rest, ":calls=")
		if !ok {
			return 0, fmt.Errorf("INFO commandstats has the line %q: want calls=", line)
		}
		calls, _, _ = strings.Cut(calls, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
