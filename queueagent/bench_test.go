package queueagent

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// BenchmarkClaimAck moves tasks through Redis without delivering them.
func BenchmarkClaimAck(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			r := newRig(b, true)
			s := r.store("a", tasks.List, "l", time.Minute)
			r.fill(b.N)
			ctx := context.Background()
			seq := uint64(0)
			b.ResetTimer()
			for left := b.N; left > 0; {
				seq++
				got, err := s.Claim(ctx, seq, n)
				if err != nil || len(got.Tasks) == 0 {
					b.Fatal(err, len(got.Tasks))
				}
				ms := make([]string, len(got.Tasks))
				for i, t := range got.Tasks {
					ms[i] = t.Member
				}
				if _, err := s.Ack(ctx, ms); err != nil {
					b.Fatal(err)
				}
				left -= len(ms)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// newNullSink answers 200 and keeps nothing, so that what is measured is the agent.
func newNullSink(b testing.TB) (url string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv, done := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}, CloseOnShutdown: true, Logger: noLog{}}, make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Shutdown(); <-done })
	return "http://" + ln.Addr().String()
}

// BenchmarkDeliver is the whole way, to a sink in the same process.
func BenchmarkDeliver(b *testing.B) {
	for _, n := range []int{16, 64, 256} {
		b.Run(fmt.Sprintf("concurrency-%d", n), func(b *testing.B) {
			r := newRig(b, true)
			cfg := testConfig("q", tasks.List, "l", newNullSink(b)+"/{type}")
			cfg.Concurrency = n
			r.fill(b.N)
			a, err := New([]Config{cfg}, r.redis, "t:", "a", zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan error, 1)
			go func() { done <- a.Run(context.Background()) }()
			for a.Stats()[0].Delivered < uint64(b.N) {
				time.Sleep(100 * time.Microsecond)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			if err := a.Shutdown(context.Background()); err != nil {
				b.Error(err)
			}
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}

func (r *rig) fill(n int) {
	for done := 0; done < n; done += 1000 {
		args := []string{"RPUSH", "l"}
		for i := done; i < min(done+1000, n); i++ {
			args = append(args, taskJSON(i))
		}
		r.do(args...)
	}
}
