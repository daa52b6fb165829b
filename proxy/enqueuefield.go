package proxy

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dunglas/httpsfv"
)

// maxTasks bounds the tasks of one response.
const maxTasks = 16

// parseTasks reads the field: a List of RFC 9651 whose members are Items, the queue's
// name as a Token or String, with parameters. A parameter that is not known is a
// mistake, not something to skip: an application that writes "dely" believes that the
// task waits.
func parseTasks(lines []string) ([]Task, error) {
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil, fmt.Errorf("is no structured field (RFC 9651): %w", err)
	}
	if len(list) > maxTasks {
		return nil, fmt.Errorf("has %d tasks: write at most %d", len(list), maxTasks)
	}
	tasks := make([]Task, len(list))
	for i, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil, errors.New("has a list within the list: write items such as emails;task=:base64:")
		}
		if tasks[i], err = taskOf(item); err != nil {
			return nil, fmt.Errorf("item %d %w", i+1, err)
		}
	}
	return tasks, nil
}

func taskOf(item httpsfv.Item) (t Task, err error) {
	switch queue := item.Value.(type) {
	case httpsfv.Token:
		t.Queue = string(queue)
	case string:
		t.Queue = queue
	default:
		return t, errors.New("does not begin with the name of a queue")
	}
	given := false
	for _, name := range item.Params.Names() {
		value, _ := item.Params.Get(name)
		ok := false
		switch name {
		case "task":
			t.Payload, ok = textParam(value)
			given = true
		case "delay":
			t.Delay, ok = secondsParam(value)
		case "dedup":
			t.Dedup, ok = textParam(value)
			ok = ok && t.Dedup != ""
		case "dedup_for":
			t.DedupFor, ok = secondsParam(value)
			ok = ok && t.DedupFor > 0
		default:
			return t, fmt.Errorf("has the parameter %q: write task, delay, dedup and dedup_for", name)
		}
		if !ok {
			return t, fmt.Errorf("has a %s that is not valid: write %s", name, paramForm(name))
		}
	}
	if !given {
		return t, errors.New(`has no task: add task=:base64: or task="text"`)
	}
	return t, nil
}

func paramForm(name string) string {
	switch name {
	case "task":
		return `task=:base64: or task="text"`
	case "dedup":
		return `a string of some characters, such as dedup="order-7"`
	}
	return name + " as seconds, such as " + name + "=30"
}

// textParam takes a Byte Sequence, a String, or a Display String.
func textParam(v any) (string, bool) {
	switch v := v.(type) {
	case []byte:
		return string(v), true
	case string:
		return v, true
	case httpsfv.DisplayString:
		return string(v), true
	}
	return "", false
}

// secondsParam takes an Integer or a Decimal. What is too long for a time.Duration is
// longer than any bound, too.
func secondsParam(v any) (time.Duration, bool) {
	var seconds float64
	switch v := v.(type) {
	case int64:
		seconds = float64(v)
	case float64:
		seconds = v
	default:
		return 0, false
	}
	if !(seconds >= 0 && seconds < math.MaxInt64/float64(time.Second)) {
		return 0, false
	}
	return time.Duration(math.Round(seconds * float64(time.Second))), true
}
