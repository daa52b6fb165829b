package proxy

import (
	"strings"
	"testing"
	"time"
)

// FuzzTasks: whatever an application writes, what is read of it is within bounds, and is
// the same when it is written on several lines.
func FuzzTasks(f *testing.F) {
	for _, field := range []string{
		`emails;task="x"`, `"emails";task=:AP8=:;delay=1.5;dedup="k";dedup_for=60, a;task=%"f%c3%bc"`, `a;task="x"; delay=999999999999999`, `(a b);task="x"`, "", ",", `a;task`, `1;task="x"`, `a;task="x";dely=1`,
		strings.Repeat(`a;task="",`, 16) + `a;task=""`, `a;task="x";delay=-1`, `a;task="x";dedup=""`, `a;task="x";dedup_for=0`, "a;task=\"x\x00\"",
	} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		tasks, err := parseTasks([]string{field})
		if err != nil && tasks != nil {
			t.Fatal("tasks beside an error")
		}
		if len(tasks) > maxTasks {
			t.Fatalf("%d tasks", len(tasks))
		}
		for _, task := range tasks {
			if task.Delay < 0 || task.DedupFor < 0 || task.DedupFor > 0 && task.DedupFor < time.Microsecond {
				t.Fatalf("%+v", task)
			}
		}
		if err != nil || strings.ContainsAny(field, `"`) || !strings.Contains(field, ",") {
			return
		}
		again, err := parseTasks(strings.Split(field, ","))
		if err != nil || len(again) != len(tasks) {
			t.Fatalf("on lines: %d tasks, %v; on one: %d", len(again), err, len(tasks))
		}
		for i := range again {
			if again[i] != tasks[i] {
				t.Fatalf("on lines %+v, on one %+v", again[i], tasks[i])
			}
		}
	})
}
