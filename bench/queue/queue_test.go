package queue

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"go.yaml.in/yaml/v3"

	"github.com/pillion-proxy/pillion/bench/sink"
)

func TestPillionConfig(t *testing.T) {
	for _, o := range []options{{queues: 1}, {queues: 100}, {queues: 2, delay: true}} {
		var got struct {
			Listen string
			Queues []struct {
				Name, List, Delay string
				Webhook           struct{ URL string }
				Concurrency       int
			}
		}
		if err := yaml.Unmarshal([]byte(pillionConfig("http://127.0.0.1:1/tasks", 7, o)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Listen != "off" || len(got.Queues) != o.queues {
			t.Fatalf("%+v", got)
		}
		for i, q := range got.Queues {
			key := q.List
			if o.delay {
				key = q.Delay
			}
			if key != source(i) || q.Concurrency != 7 || q.Webhook.URL != "http://127.0.0.1:1/tasks" || (q.List == "") != o.delay {
				t.Errorf("queue %d: %+v", i, q)
			}
		}
	}
}

func TestTrickle(t *testing.T) {
	var sent []time.Duration
	began := time.Now()
	err := trickle(t.Context(), 20, 5*time.Millisecond, func(id int) error {
		if id != len(sent) {
			t.Errorf("task %d after %d", id, len(sent))
		}
		sent = append(sent, time.Since(began))
		return nil
	})
	if err != nil || len(sent) != 20 {
		t.Fatalf("%d %v", len(sent), err)
	}
	for i, at := range sent {
		if least := time.Duration(i) * 5 * time.Millisecond; at < least {
			t.Errorf("task %d was sent after %v, before its time", i, at)
		}
	}
}

// TestPoster has asynq's handler post to a sink.
func TestPoster(t *testing.T) {
	s, err := startLocalSink(2, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := newPoster("http://"+s.addr+"/tasks", 4)
	if err := p.ProcessTask(t.Context(), asynq.NewTask("t", sink.Payload(1, 0))); err != nil {
		t.Error(err)
	}
	if err := p.ProcessTask(t.Context(), asynq.NewTask("t", []byte("{}"))); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("%v, want the status %d", err, http.StatusBadRequest)
	}
	if err := s.waitFor(t.Context(), 0, 10*time.Second); err != nil {
		t.Error(err)
	}
	if st := s.State(); st.Distinct != 1 || st.Bad != 1 {
		t.Errorf("%+v", st)
	}
	p.client.CloseIdleConnections()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
