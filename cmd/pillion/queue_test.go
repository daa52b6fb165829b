package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// TestKilledAgentLosesNothing sends 10,000 tasks, half of them by list and half by
// delay, through a pillion that is killed with SIGKILL five times.
func TestKilledAgentLosesNothing(t *testing.T) {
	const tasks, kills = 10_000, 5
	redis := redistest.Start(t)
	other := redistest.Client(t, redis)
	var mu sync.Mutex
	seen := make(map[int]int)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var n int
		if _, err := fmt.Sscanf(string(b), `{"type":"t","data":%d}`, &n); err != nil {
			t.Errorf("payload %q: %v", b, err)
		}
		mu.Lock()
		seen[n]++
		mu.Unlock()
	}))
	defer app.Close()
	distinct := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	config := writeConfig(t, fmt.Sprintf(`
queues:
  - name: tasks
    list: "app:tasks"
    webhook: { url: "%[1]s/{type}" }
    retry: { max_abandons: %[2]d }
  - name: delayed
    delay: "app:delayed"
    webhook: { url: "%[1]s/{type}" }
    retry: { max_abandons: %[2]d }
`, app.URL, kills+1))
	agent := []string{"PILLION_AGENT_ID=pod-1"}
	p := startProcess(t, config, "redis://"+redis.Addr, app.URL, agent...)
	enqueue(t, other, tasks)
	for k := 1; k <= kills; k++ {
		at := tasks * k / (kills + 1)
		eventually(t, fmt.Sprintf("%d tasks are delivered", at), func() bool { return distinct() >= at })
		must(t, p.cmd.Process.Kill())
		<-p.exited
		p = startProcess(t, config, "redis://"+redis.Addr, app.URL, agent...)
	}
	eventually(t, "every task is delivered", func() bool { return distinct() == tasks })
	again := 0
	mu.Lock()
	for _, n := range seen {
		again += n - 1
	}
	mu.Unlock()
	t.Logf("%d tasks, %d kills: 0 lost, %d delivered twice", tasks, kills, again)
	if most := kills * 2 * 16; again > most { // what can be in flight at a kill: two queues of concurrency 16
		t.Errorf("%d deliveries were repeated, want at most %d", again, most)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"app:tasks", "app:delayed"} {
		if n, err := other.Do(context.Background(), other.B().Exists().Key(key).Build()).AsInt64(); n != 0 || err != nil {
			t.Errorf("%s is left: %d %v", key, n, err)
		}
	}
}

// enqueue adds n tasks, as an application does.
func enqueue(t *testing.T, c rueidis.Client, n int) {
	t.Helper()
	cmds := make(rueidis.Commands, 0, n)
	now := float64(time.Now().UnixMilli()) / 1000
	for i := range n {
		task := `{"type":"t","data":` + strconv.Itoa(i) + `}`
		if i%2 == 0 {
			cmds = append(cmds, c.B().Rpush().Key("app:tasks").Element(task).Build())
			continue
		}
		due := now + float64(i%1000)/1000 // within the next second
		cmds = append(cmds, c.B().Zadd().Key("app:delayed").ScoreMember().ScoreMember(due, task).Build())
	}
	for _, r := range c.DoMulti(context.Background(), cmds...) {
		must(t, r.Error())
	}
}
