package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/bench/proc"
)

// bullmq is BullMQ on node, with a processor that posts each job to the sink.
type bullmq struct{ b *Bench }

func (q *bullmq) name() string { return "bullmq" }

// dir is where `make bench-deps` puts BullMQ.
func (q *bullmq) dir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "pillion-bench", "bullmq")
}

func (q *bullmq) available(ctx context.Context) (string, error) {
	node, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return "", errors.New("node is not on PATH: run make bench-deps")
	}
	text, err := os.ReadFile(filepath.Join(q.dir(), "node_modules", "bullmq", "package.json"))
	if err != nil {
		return "", errors.New("BullMQ is not installed: run make bench-deps")
	}
	var pkg struct{ Version string }
	if err := json.Unmarshal(text, &pkg); err != nil {
		return "", err
	}
	return pkg.Version + " on node " + strings.TrimSpace(string(node)), q.copyScripts()
}

// copyScripts puts our scripts beside the packages that they import.
func (q *bullmq) copyScripts() error {
	for _, name := range []string{"worker.mjs", "produce.mjs"} {
		text, err := os.ReadFile(q.b.Path("bench", "peers", "bullmq", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(q.dir(), name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (q *bullmq) enqueue(ctx context.Context, r *proc.Redis, n int, due func(int) time.Time) error {
	o := map[string]any{"mode": "bulk", "tasks": n, "queues": 1}
	if due != nil {
		o["first"], o["step"] = due(0).UnixMicro(), due(1).Sub(due(0)).Microseconds()
	}
	return q.produce(ctx, r, o)
}

func (q *bullmq) trickle(ctx context.Context, r *proc.Redis, n int, every time.Duration, queues int) error {
	return q.produce(ctx, r, map[string]any{"mode": "trickle", "tasks": n, "queues": queues, "every": every.Milliseconds()})
}

func (q *bullmq) produce(ctx context.Context, r *proc.Redis, o map[string]any) error {
	o["redis"] = "redis://" + r.Addr
	arg, err := json.Marshal(o)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "node", "produce.mjs", string(arg))
	cmd.Dir = q.dir()
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("produce.mjs: %w\n%s", err, out)
	}
	return nil
}

func (q *bullmq) start(_ context.Context, r *proc.Redis, url string, o options) (*proc.Process, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	return proc.Start(proc.Spec{
		Name: "bullmq", Path: node, Dir: q.dir(), Env: []string{"NODE_ENV=production"},
		Args: []string{"worker.mjs", "redis://" + r.Addr, url, strconv.Itoa(o.queues), strconv.Itoa(q.b.Concurrency)},
	})
}
