package cache

import "time"

// ParseDate reads an HTTP date in any of the three formats that a recipient
// must accept (RFC 9110 §5.6.7):
//
//	Sun, 06 Nov 1994 08:49:37 GMT   IMF-fixdate
//	Sunday, 06-Nov-94 08:49:37 GMT  RFC 850
//	Sun Nov  6 08:49:37 1994        asctime
//
// They are case-sensitive to who writes one; here the case of letters does not
// matter, and nothing else is a date. A two-digit year that would lie more than 50 years after now is one of the century before. The name
// of the day must be one but is not compared with the date. It does not allocate.
func ParseDate(b []byte, now time.Time) (time.Time, bool) {
	p := dateParser{rest: b, ok: len(b) <= len("Wednesday, 06-Nov-94 08:49:37 GMT")}
	if len(b) < len("Sun Nov  6 08:49:37 1994") {
		return time.Time{}, false
	}
	switch {
	case b[3] == ',':
		p.imfFixdate()
	case b[3] == ' ':
		p.asctime()
	default:
		p.rfc850(now)
	}
	return p.time()
}

// dateParser consumes a date from the front; ok turns false at the first
// mismatch and stays so.
type dateParser struct {
	rest                         []byte
	ok                           bool
	year, day, hour, minute, sec int
	month                        time.Month
}

func (p *dateParser) imfFixdate() {
	p.weekday(true)
	p.literal(", ")
	p.day = p.number(2)
	p.literal(" ")
	p.monthName()
	p.literal(" ")
	p.year = p.number(4)
	p.literal(" ")
	p.clock()
	p.literal(" GMT")
}

func (p *dateParser) rfc850(now time.Time) {
	p.weekday(false)
	p.literal(", ")
	p.day = p.number(2)
	p.literal("-")
	p.monthName()
	p.literal("-")
	thisYear := now.UTC().Year()
	p.year = thisYear - thisYear%100 + p.number(2)
	p.literal(" ")
	p.clock()
	p.literal(" GMT")
	if at, ok := p.time(); ok && at.After(now.AddDate(50, 0, 0)) {
		p.year -= 100
	}
}

func (p *dateParser) asctime() {
	p.weekday(true)
	p.literal(" ")
	p.monthName()
	p.literal(" ")
	if len(p.rest) > 0 && p.rest[0] == ' ' {
		p.literal(" ")
		p.day = p.number(1)
	} else {
		p.day = p.number(2)
	}
	p.literal(" ")
	p.clock()
	p.literal(" ")
	p.year = p.number(4)
}

func (p *dateParser) clock() {
	p.hour = p.number(2)
	p.literal(":")
	p.minute = p.number(2)
	p.literal(":")
	p.sec = p.number(2)
}

func (p *dateParser) literal(s string) {
	if !p.ok || len(p.rest) < len(s) || !equalFoldBytes(p.rest[:len(s)], []byte(s)) {
		p.ok = false
		return
	}
	p.rest = p.rest[len(s):]
}

func (p *dateParser) number(digits int) int {
	if !p.ok || len(p.rest) < digits {
		p.ok = false
		return 0
	}
	n := 0
	for _, c := range p.rest[:digits] {
		if !isDigit(c) {
			p.ok = false
			return 0
		}
		n = n*10 + int(c-'0')
	}
	p.rest = p.rest[digits:]
	return n
}

func (p *dateParser) weekday(short bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		name := day.String()
		if short {
			name = name[:3]
		}
		if len(p.rest) >= len(name) && equalFoldBytes(p.rest[:len(name)], []byte(name)) {
			p.rest = p.rest[len(name):]
			return
		}
	}
	p.ok = false
}

func (p *dateParser) monthName() {
	if !p.ok || len(p.rest) < 3 {
		p.ok = false
		return
	}
	for m := time.January; m <= time.December; m++ {
		if equalFoldBytes(p.rest[:3], []byte(m.String()[:3])) {
			p.month, p.rest = m, p.rest[3:]
			return
		}
	}
	p.ok = false
}

// time gives the date that was read, when all of it was and such a day exists.
// Second 60 is a leap second.
func (p *dateParser) time() (time.Time, bool) {
	if !p.ok || len(p.rest) > 0 || p.hour > 23 || p.minute > 59 || p.sec > 60 || p.day == 0 {
		return time.Time{}, false
	}
	midnight := time.Date(p.year, p.month, p.day, 0, 0, 0, 0, time.UTC)
	if midnight.Day() != p.day {
		return time.Time{}, false // 31 June, which time.Date takes for 1 July
	}
	return time.Date(p.year, p.month, p.day, p.hour, p.minute, p.sec, 0, time.UTC), true
}
