//go:build linux

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	beginMark = "<!-- ledger: begin -->"
	endMark   = "<!-- ledger: end -->"
)

// report is the account as Markdown.
func report(c *chaos, seed uint64, took time.Duration) string {
	var b strings.Builder
	b.WriteString("| source | tasks | delivered | lost | delivered twice | bound |\n|---|---:|---:|---:|---:|---:|\n")
	sum := line{source: "all"}
	row := func(l line) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", l.source, l.tasks, l.delivered, l.lost, l.twice, l.bound)
	}
	for i := range sources {
		l := c.book.balance(i)
		row(l)
		sum.tasks, sum.delivered, sum.lost = sum.tasks+l.tasks, sum.delivered+l.delivered, sum.lost+l.lost
		sum.twice, sum.bound = sum.twice+l.twice, sum.bound+l.bound
	}
	row(sum)
	t := &c.toll
	late := sum.bound - t.killed - t.cut - t.restored - t.paused - t.expired
	b.WriteString("\n| failure | times | deliveries in flight |\n|---|---:|---:|\n")
	fmt.Fprintf(&b, "| agent killed (SIGKILL); %d times two at once, %d times with Redis down | %d | %d |\n", t.double, t.blind, t.kills, t.killed)
	fmt.Fprintf(&b, "| agent stopped (SIGSTOP) for longer than its leases | %d | %d |\n", t.pauses, t.paused)
	fmt.Fprintf(&b, "| Redis restarted; %d by SIGKILL, %d by SHUTDOWN NOSAVE | %d | %d |\n", t.restarts-t.clean, t.clean, t.restarts, t.restored)
	fmt.Fprintf(&b, "| application down: port closed, connections reset | %d | %d |\n", t.outages[refused], t.cut)
	fmt.Fprintf(&b, "| application slow: work done, answer after the timeout | %d | %d |\n", t.outages[slow], late)
	fmt.Fprintf(&b, "| application hung: no answer, no work done | %d | 0 |\n", t.outages[hung])
	fmt.Fprintf(&b, "| application answers 500 | %d | 0 |\n", t.outages[failing])
	fmt.Fprintf(&b, "| lease ended on a living agent | | %d |\n", t.expired)
	fmt.Fprintf(&b, "\n%d agent processes, %d deliveries in flight to a queue and process at most; Redis with `appendfsync always`. ", len(c.agents), concurrency)
	fmt.Fprintf(&b, "%s, %.0f tasks/s with all failures; seed %d. Repetitions carried `Pillion-Reason`", took.Round(100*time.Millisecond), float64(sum.tasks)/took.Seconds(), seed)
	for i, r := range reasons {
		fmt.Fprintf(&b, " %s: %d", r, c.book.byReason[i].Load())
		b.WriteString(map[bool]string{true: ".\n", false: ","}[i == len(reasons)-1])
	}
	return b.String()
}

// writeDoc replaces what is between the markers of a document. Without markers it goes
// below the heading "Ledger".
func writeDoc(path, text string) error {
	doc, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // printed only
	}
	if err != nil {
		return err
	}
	doc, err = placeIn(doc, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, doc, 0o644)
}

func placeIn(doc []byte, text string) ([]byte, error) {
	block := beginMark + "\n" + strings.TrimRight(text, "\n") + "\n" + endMark
	head, rest, ok := bytes.Cut(doc, []byte(beginMark))
	if ok {
		_, after, closed := bytes.Cut(rest, []byte(endMark))
		if !closed {
			return nil, fmt.Errorf("%q is not followed by %q: add it", beginMark, endMark)
		}
		return bytes.Join([][]byte{head, after}, []byte(block)), nil
	}
	const heading = "\n## Ledger\n"
	if head, rest, ok = bytes.Cut(doc, []byte(heading)); !ok {
		return nil, fmt.Errorf("has neither %q nor the heading \"## Ledger\": add one", beginMark)
	}
	return append(append(head, heading+"\n"+block+"\n"...), rest...), nil
}

func TestPlaceIn(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"a\n" + beginMark + "\nold\n" + endMark + "\nz\n", "a\n" + beginMark + "\nnew\n" + endMark + "\nz\n"},
		{"a\n\n## Ledger\n\ntext\n", "a\n\n## Ledger\n\n" + beginMark + "\nnew\n" + endMark + "\n\ntext\n"},
		{beginMark + "\nold\n", ""},
		{"# Queues\n", ""},
	} {
		got, err := placeIn([]byte(c.doc), "new\n")
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("placeIn(%q) = %q, %v: want %q", c.doc, got, err, c.want)
		}
	}
}
