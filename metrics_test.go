package pillion

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/queueagent"
)

func TestEachMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metricTexts() {
		if !strings.Contains(string(page), "| `pillion_"+m[0]+"` |") {
			t.Errorf("docs/operations.md has no row of pillion_%s", m[0])
		}
	}
}

// What is measured of a queue is there to be read, for each queue.
func TestQueueMetrics(t *testing.T) {
	srv := redistest.Start(t)
	redis := redistest.Client(t, srv)
	app := apptest.StartApp(t, func(ctx *fasthttp.RequestCtx) {})
	cfg := Default()
	cfg.Listen, cfg.Admin.Listen = Off, Off
	cfg.Redis.URL, cfg.Upstream.URL = "redis://"+srv.Addr, app.URL()
	q := queueagent.Default()
	q.Name, q.List, q.Webhook.URL = "tasks", "l", app.URL()
	cfg.Queues = []queueagent.Config{q}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Do(t, redis, "RPUSH", "l", "1", "2")
	values := func() map[string]float64 {
		families, err := p.Metrics().Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]float64)
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, l := range m.Label {
					if l.GetName() == "state" {
						name += "/" + l.GetValue()
					}
				}
				out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		return out
	}
	var got map[string]float64
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && got["pillion_queue_delivered_total"] != 2; time.Sleep(5 * time.Millisecond) {
		got = values()
	}
	for name, want := range map[string]float64{
		"pillion_queue_delivered_total": 2, "pillion_queue_lateness_seconds": 2, "pillion_queue_end_to_end_seconds": 2, "pillion_queue_attempts": 2,
		"pillion_queue_throttled": 0, "pillion_queue_paused": 0, "pillion_queue_unknown_acks_total": 0, "pillion_queue_oldest_due_age_seconds": 0,
		"pillion_queue_tasks/ready": 0, "pillion_queue_tasks/dead": 0,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v, there %t: want %v", name, v, there, want)
		}
	}
	redistest.Do(t, redis, "DEL", "l")
	redistest.Do(t, redis, "SET", "l", "of the wrong type")
	if _, there := values()["pillion_queue_tasks/ready"]; there {
		t.Error("what is not known is shown")
	}
}
