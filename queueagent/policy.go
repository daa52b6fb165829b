package queueagent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

const (
	statusGone            = 410
	statusTooManyRequests = 429
	statusUnavailable     = 503
)

// action is what a status means.
type action uint8

const (
	actDefault action = iota // as the table in action says
	actAck
	actRetry
	actDeadLetter
	actThrottle
)

// policy is what answers mean for one queue. It does not change.
type policy struct {
	retry    Retry
	statuses [maxStatus + 1]action // by the configuration
}

const (
	minStatus = 100
	maxStatus = 599
)

func newPolicy(r Retry) (*policy, error) {
	for _, m := range r.StatusMistakes() {
		return nil, fmt.Errorf("retry.status: %q: %q %s: %s", m.Key, r.Status[m.Key], m.Message, m.Remedy)
	}
	p := &policy{retry: r}
	ranges := statusRanges(r.Status)
	// The widest first, so that the most exact has the last word.
	slices.SortFunc(ranges, func(a, b statusRange) int { return b.width() - a.width() })
	for _, s := range ranges {
		for code := s.from; code <= s.to; code++ {
			p.statuses[code] = actionWords()[r.Status[s.key]]
		}
	}
	return p, nil
}

// action gives what an answer asks for.
func (p *policy) action(a webhook.Answer) action {
	switch a.Result {
	case webhook.ResultAck:
		return actAck
	case webhook.ResultRetry:
		return actRetry
	case webhook.ResultDeadLetter:
		return actDeadLetter
	}
	if a.Status < len(p.statuses) && p.statuses[a.Status] != actDefault {
		return p.statuses[a.Status]
	}
	asks := a.RetryAfter >= 0 && (a.Status == statusTooManyRequests || a.Status == statusUnavailable)
	switch {
	case a.Status/100 == 2:
		return actAck
	case a.Status == statusGone:
		return actDeadLetter
	case asks:
		return actThrottle
	}
	return actRetry
}

func actionWords() map[string]action {
	return map[string]action{"ack": actAck, "retry": actRetry, "dead_letter": actDeadLetter, "throttle": actThrottle}
}

// statusRange is a key of retry.status.
type statusRange struct {
	key      string
	from, to int
}

func (s statusRange) width() int { return s.to - s.from }

// parseStatusRange reads "422", "4xx" or "500-599".
func parseStatusRange(key string) (statusRange, bool) {
	s := statusRange{key: key}
	if class, ok := strings.CutSuffix(key, "xx"); ok {
		n, ok := statusNumber(class + "00")
		s.from, s.to = n, n+99
		return s, ok
	}
	low, high, ranged := strings.Cut(key, "-")
	if !ranged {
		high = low
	}
	var okLow, okHigh bool
	s.from, okLow = statusNumber(low)
	s.to, okHigh = statusNumber(high)
	return s, okLow && okHigh && s.from <= s.to
}

func statusNumber(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && len(text) == 3 && n >= minStatus && n <= maxStatus
}

func statusRanges(status map[string]string) (out []statusRange) {
	for _, key := range slices.Sorted(maps.Keys(status)) {
		if s, ok := parseStatusRange(key); ok {
			out = append(out, s)
		}
	}
	return out
}

// StatusMistake is what is wrong with one entry of Retry.Status.
type StatusMistake struct{ Key, Message, Remedy string }

// StatusMistakes says what is wrong with Status, by key.
func (r Retry) StatusMistakes() (out []StatusMistake) {
	ranges := statusRanges(r.Status)
	for _, key := range slices.Sorted(maps.Keys(r.Status)) {
		if _, ok := actionWords()[r.Status[key]]; !ok {
			out = append(out, StatusMistake{key, "is not a result", "write ack, retry, throttle or dead_letter"})
		}
		s, ok := parseStatusRange(key)
		if !ok {
			out = append(out, StatusMistake{key, "is not for a status from 100 to 599", "let the key be one such as 422, 4xx or 500-599"})
			continue
		}
		for _, other := range ranges {
			if other.key < key && other.width() == s.width() && other.from <= s.to && s.from <= other.to {
				out = append(out, StatusMistake{key, fmt.Sprintf("is for statuses that %q is for too, as exactly", other.key), "let one of the two be for fewer statuses"})
				break
			}
		}
	}
	return out
}
