package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func serve(t *testing.T, s *Sink) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &fasthttp.Server{Handler: s.Handle}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = srv.Shutdown()
		<-done
	})
	return "http://" + ln.Addr().String()
}

func post(t *testing.T, url string, body []byte) int {
	t.Helper()
	res, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func ask(t *testing.T, url string) (int, State) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var st State
	_ = json.NewDecoder(res.Body).Decode(&st)
	return res.StatusCode, st
}

func TestCounts(t *testing.T) {
	const tasks = 200
	s := New(tasks, 50, tasks)
	url := serve(t, s)
	if code, _ := ask(t, url+"/wait?mark=0&seconds=0"); code != http.StatusGatewayTimeout {
		t.Errorf("a mark that is not reached: status %d, want 504", code)
	}
	if code, _ := ask(t, url+"/wait?mark=2"); code != http.StatusBadRequest {
		t.Errorf("no such mark: status %d, want 400", code)
	}
	var all sync.WaitGroup
	for range 2 { // each task twice
		all.Go(func() {
			for id := range tasks {
				post(t, url, Payload(id, 0))
			}
		})
	}
	code, st := ask(t, url+"/wait?mark=1&seconds=30")
	if code != http.StatusOK || st.Distinct != tasks || st.At.IsZero() || st.Seen.Before(st.At) {
		t.Errorf("at the last mark: %d %+v", code, st)
	}
	all.Wait()
	if st := s.State(); st.Received != 2*tasks || st.Distinct != tasks || st.Bad != 0 {
		t.Errorf("at the end: %+v", st)
	}
}

func TestRefusesWhatIsNoTask(t *testing.T) {
	s := New(10, 10)
	url := serve(t, s)
	bodies := []string{"", "{}", `{"data":{"id":}}`, `{"data":{"id":-1}}`, `{"data":{"id":10}}`, `{"data":{"id":99999999999999999999}}`}
	for _, body := range bodies {
		if code := post(t, url, []byte(body)); code != http.StatusBadRequest {
			t.Errorf("%q: status %d, want 400", body, code)
		}
	}
	if st := s.State(); st.Bad != int64(len(bodies)) || st.Received != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLatencies(t *testing.T) {
	s := New(10, 10)
	url := serve(t, s)
	post(t, url, Payload(0, 0))
	post(t, url, Payload(1, time.Now().Add(-time.Hour).UnixMicro()))
	post(t, url, Payload(2, time.Now().Add(time.Hour).UnixMicro()))
	h := s.Latencies()
	if h.Count() != 2 || h.Max() < 9*time.Minute || h.Min() > -9*time.Minute {
		t.Errorf("%d times, from %v to %v", h.Count(), h.Min(), h.Max())
	}
	if s.Latencies().Count() != 0 {
		t.Error("the latencies must begin anew")
	}
}

func TestPayload(t *testing.T) {
	p := Payload(123456, 1700000000000000)
	if !json.Valid(p) || len(p) < 190 || len(p) > 240 {
		t.Errorf("%d bytes: %s", len(p), p)
	}
	for name, want := range map[string]int64{`"id":`: 123456, `"at":`: 1700000000000000} {
		if got, ok := number(p, name); !ok || got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func FuzzNumber(f *testing.F) {
	f.Add([]byte(`{"id":7}`), int64(7))
	f.Fuzz(func(t *testing.T, noise []byte, n int64) {
		if bytes.Contains(noise, []byte(`"id":`)) || n < 0 {
			t.Skip()
		}
		if got, ok := number(fmt.Appendf(nil, `%s"id":%d,`, noise, n), `"id":`); !ok || got != n {
			t.Errorf("%d, want %d", got, n)
		}
		number(noise, "i")
	})
}
