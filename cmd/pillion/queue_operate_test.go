package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// queueRig is a pillion whose application answers with a status, and what talks to it.
type queueRig struct {
	t      *testing.T
	p      *process
	config string
	c      rueidis.Client
	status atomic.Int64
	token  atomic.Value // the last lease token
}

func newQueueRig(t *testing.T) *queueRig {
	t.Helper()
	srv := redistest.Start(t)
	r := &queueRig{t: t, c: redistest.Client(t, srv)}
	r.status.Store(410)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		r.token.Store([2]string{req.Header.Get("webhook-id"), req.Header.Get("Pillion-Lease-Token")})
		w.Header().Set("Pillion-Lease", "1h")
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(app.Close)
	r.config = writeConfig(t, fmt.Sprintf(`
redis: { url: "redis://%s" }
queues:
  - name: tasks
    list: "app:tasks"
    concurrency: 1 # dead letters in order
    webhook: { url: "%s/hook?secret=1" }
`, srv.Addr, app.URL))
	r.p = startProcess(t, r.config, "redis://"+srv.Addr, app.URL)
	return r
}

func (r *queueRig) do(args ...string) rueidis.RedisResult {
	r.t.Helper()
	return redistest.Do(r.t, r.c, args...)
}

func (r *queueRig) int(args ...string) int64 {
	r.t.Helper()
	return redistest.Int(r.t, r.c, args...)
}

// queue runs a command of queue, and fails unless it ends with a code.
func (r *queueRig) queue(code int, args ...string) (stdout, stderr string) {
	r.t.Helper()
	got, stdout, stderr := run(append(append([]string{"queue"}, args...), "--admin", r.p.admin)...)
	if got != code {
		r.t.Fatalf("queue %v: exit %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout, stderr
}

const deadKey = "pillion:{app:tasks}:tasks:dead"

func TestQueueCommands(t *testing.T) {
	r := newQueueRig(t)
	r.do("RPUSH", "app:tasks", `{"type":"mail","n":1}`, `{"type":"mail","n":2}`, `{"type":"sms","n":3}`, "bin\x00\xff\x1b[31m")
	eventually(t, "four are dead", func() bool { return r.int("XLEN", deadKey) == 4 })
	if out, _ := r.queue(0, "list"); !strings.Contains(out, "tasks") || !strings.Contains(out, "running") || strings.Contains(out, "secret") {
		t.Errorf("list:\n%s", out)
	}
	if out, _ := r.queue(0, "list", "--json"); !strings.Contains(out, `"dead":4`) || !strings.Contains(out, `"key":"app:tasks"`) {
		t.Errorf("list --json: %s", out)
	}
	out, errs := r.queue(0, "dead", "list", "tasks", "--limit", "3")
	if strings.Count(out, "\n") != 4 || strings.Count(out, "gone") != 3 || !strings.Contains(errs, "--before") || strings.Contains(out, "\x1b") {
		t.Errorf("dead list:\n%q %s", out, errs)
	}
	if out, errs = r.queue(0, "dead", "list", "tasks", "--type", "mail", "--oldest", "--since", "1h"); strings.Count(out, "mail") != 2 || errs != "" {
		t.Errorf("dead list of a type:\n%s%s", out, errs)
	}
	r.exports()
	first := r.entry("--contains", `"n":1`)
	if out, _ = r.queue(0, "dead", "show", "tasks", first); !strings.Contains(out, `"payload":"{\"type\":\"mail\",\"n\":1}"`) {
		t.Errorf("show: %s", out)
	}
	r.queue(1, "dead", "show", "tasks", "1-1")
	r.status.Store(200)
	if out, _ = r.queue(0, "dead", "replay", "tasks", first); out != "1 replayed\n" {
		t.Errorf("replay: %s", out)
	}
	eventually(t, "it is delivered", func() bool { return r.int("HLEN", "pillion:{app:tasks}:tasks:records") == 0 })
	if out, _ = r.queue(0, "dead", "delete", "tasks", "--type", "sms"); out != "1 deleted\n" {
		t.Errorf("delete: %s", out)
	}
	if out, _ = r.queue(0, "dead", "delete", "tasks", r.entry("--type", "mail")); out != "1 deleted\n" {
		t.Errorf("delete one: %s", out)
	}
	if out, _ = r.queue(0, "dead", "replay", "tasks", "--all"); out != "1 replayed\n" || r.int("XLEN", deadKey) != 0 {
		t.Errorf("replay --all: %s", out)
	}
	r.queue(2, "dead", "delete", "tasks")
	r.queue(2, "dead", "replay", "tasks", "1-1", "--all")
	r.queue(2, "dead", "list")
	r.queue(1, "dead", "list", "nosuch")
	r.queue(1, "dead", "list", "tasks", "--since", "yesterday")
}

// entry gives the one dead letter that a filter chooses.
func (r *queueRig) entry(filter ...string) string {
	r.t.Helper()
	out, _ := r.queue(0, append([]string{"dead", "list", "tasks", "--json"}, filter...)...)
	var answer struct{ Dead []admin.DeadLetter }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Dead) != 1 {
		r.t.Fatalf("%v: %s %v", filter, out, err)
	}
	return answer.Dead[0].Entry
}

// exports adds a dead letter of 10 MB, exports all, and deletes it again.
func (r *queueRig) exports() {
	t := r.t
	t.Helper()
	big := strings.Repeat("é\n", 10<<20/3)
	r.do("XADD", deadKey, "*", "id", "big", "reason", "poison", "detail", "", "attempts", "1", "abandons", "0", "since", "1700000000000", "payload", big)
	r.do("XADD", deadKey, "*", "foreign", "entry")
	file := filepath.Join(t.TempDir(), "dead.ndjson")
	r.queue(0, "dead", "export", "tasks", "-o", file)
	r.queue(1, "dead", "export", "tasks", "-o", file) // it is there already
	text, err := os.ReadFile(file)
	must(t, err)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 64<<20)
	var got []admin.DeadLetter
	for lines.Scan() {
		var d admin.DeadLetter
		must(t, json.Unmarshal(lines.Bytes(), &d))
		got = append(got, d)
	}
	if len(got) != 6 || *got[4].Payload != big || got[4].Truncated || string(got[3].PayloadBase64) != "bin\x00\xff\x1b[31m" || got[3].Payload != nil || got[5].Damaged == "" {
		t.Fatalf("exported %d", len(got))
	}
	if !bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString([]byte("bin\x00\xff\x1b[31m")))) {
		t.Error("no base64")
	}
	if out, _ := r.queue(0, "dead", "list", "tasks", "--json", "--id", "big"); len(out) > 5000 || !strings.Contains(out, `"truncated":true`) || !strings.Contains(out, fmt.Sprintf(`"payload_bytes":%d`, len(big))) {
		t.Errorf("the list shows %d bytes", len(out))
	}
	if out, _ := r.queue(0, "dead", "show", "tasks", got[4].Entry); len(out) < len(big) {
		t.Errorf("show gives %d bytes", len(out))
	}
	r.queue(0, "dead", "delete", "tasks", got[4].Entry, got[5].Entry)
	r.queue(1, "dead", "delete", "tasks", got[4].Entry)
}

func TestTaskCommandsAndPause(t *testing.T) {
	r := newQueueRig(t)
	r.status.Store(202)
	task := func() (id, token string) {
		t.Helper()
		r.token.Store([2]string{})
		r.do("RPUSH", "app:tasks", `{"n":1}`)
		eventually(t, "the application has it", func() bool {
			v := r.token.Load().([2]string)
			id, token = v[0], v[1]
			return id != "" && r.do("ZSCORE", "pillion:{app:tasks}:tasks:leases", id+"|pending:"+token).Error() == nil
		})
		return id, token
	}
	id, token := task()
	r.queue(1, "ack", "tasks", id, "--lease-token", "wrong")
	r.queue(0, "extend", "tasks", id, "--lease-token", token, "--after", "2h")
	r.queue(0, "ack", "tasks", id, "--lease-token", token)
	r.queue(1, "ack", "tasks", id)
	id, _ = task()
	r.queue(0, "retry", "tasks", id, "--after", "1h")
	r.queue(1, "release", "tasks", id)
	r.queue(0, "ack", "tasks", id)
	id, _ = task()
	r.queue(0, "dead-letter", "tasks", id, "--detail", "why not")
	if out, _ := r.queue(0, "dead", "list", "tasks"); !strings.Contains(out, "operator") || !strings.Contains(out, "why not") {
		t.Errorf("dead list:\n%s", out)
	}
	r.queue(2, "ack", "tasks")
	r.queue(1, "ack", "nosuch", id)
	r.queue(1, "extend", "tasks", id)
	r.queue(0, "pause", "tasks")
	eventually(t, "it is paused", func() bool { out, _ := r.queue(0, "list"); return strings.Contains(out, "paused") })
	r.queue(0, "resume", "tasks")
	r.queue(1, "pause", "nosuch")
	if n := r.int("HLEN", "pillion:{app:tasks}:tasks:records"); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestFsckCommand(t *testing.T) {
	r := newQueueRig(t)
	r.do("RPUSH", "app:tasks", "1")
	eventually(t, "it is dead", func() bool { return r.int("XLEN", deadKey) == 1 })
	fsck := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := run(append([]string{"queue", "fsck", "--config", r.config}, args...)...)
		if got != code || !strings.Contains(out+errs, want) {
			t.Errorf("fsck %v: exit %d, want %d with %q\n%s%s", args, got, code, want, out, errs)
		}
	}
	fsck(0, "nothing wrong")
	must(t, r.c.Do(context.Background(), r.c.B().Hset().Key("pillion:{app:tasks}:tasks:records").FieldValue().FieldValue("lost", "f 0 0 1700000000000\nx").Build()).Error())
	fsck(1, "orphan 1")
	fsck(1, `"fault":"orphan"`, "--json")
	r.do("RPUSH", "pillion:{gone}:old:dead", "x")
	fsck(1, "stray_key")
	must(t, r.p.stop()) // or the agent would deliver what a repair lets wait
	fsck(0, "repaired", "--repair")
	fsck(0, "nothing wrong")
	if n := r.int("ZCARD", "pillion:{app:tasks}:tasks:retry"); n != 1 {
		t.Errorf("%d tasks wait: want 1", n)
	}
	fsck(2, "mistakes", "--config", writeConfig(t, "queues: 1"))
}
