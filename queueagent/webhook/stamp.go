package webhook

import "time"

// stamp writes times as RFC 3339 with milliseconds, in UTC. It keeps the text of the last
// second: of the times of a busy queue, most are within the one of the time before.
type stamp struct {
	second int64
	text   []byte // up to the point
}

func (s *stamp) append(b []byte, t time.Time) []byte {
	if second := t.Unix(); s.text == nil || second != s.second {
		s.second, s.text = second, t.UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05.")
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(append(b, s.text...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}
