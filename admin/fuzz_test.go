package admin

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func FuzzParseDeadQuery(f *testing.F) {
	for _, q := range []string{"", "reason=a&limit=5", "since=1h&until=2026-01-01T00:00:00Z", "all=true", "after=1-1&before=2-2", "x=1", "%zz", "limit=99999999999999999999", "since=-1h", "since=0001-01-01T00:00:00Z"} {
		f.Add(q)
	}
	now := time.UnixMilli(1_700_000_000_000)
	check := func(e string) error {
		if !strings.Contains(e, "-") {
			return errors.New("no entry")
		}
		return nil
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, problem := parseDeadQuery(raw, now, check, "order", "limit", "all")
		if problem != "" {
			return
		}
		if q.limit < 1 || q.limit > maxLimit {
			t.Errorf("limit %d", q.limit)
		}
		if q.After != "" && check(q.After) != nil || q.Before != "" && check(q.Before) != nil {
			t.Error("an entry was not checked")
		}
		if !q.Since.IsZero() && q.Since.UnixMilli() < 0 {
			t.Errorf("since %s", q.Since)
		}
		// What would delete everything must have said so.
		if oneChoice(false, q.all, q.DeadFilter) == "" && !q.all && q.empty() {
			t.Error("nothing was asked for, and all was chosen")
		}
	})
}
