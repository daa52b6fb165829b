package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// maxEntries bounds the entries that one call names.
	maxEntries = 1000
	// defaultLimit and maxLimit bound a page of dead letters.
	defaultLimit, maxLimit = 100, 1000
	// sweepTime is for one call that is about many dead letters; the next goes on where it ended.
	sweepTime = 2 * time.Minute
	// exportIdle is how long a reader of an export may take for one dead letter.
	exportIdle = time.Minute
)

// DeadLetter is a task that was given up. Payload is set when it is UTF-8, else
// PayloadBase64; in a list it is cut short, which Truncated says.
type DeadLetter struct {
	Entry         string    `json:"entry"`
	ID            string    `json:"id"`
	Reason        string    `json:"reason"`
	Detail        string    `json:"detail"`
	Type          string    `json:"type,omitempty"`
	Attempts      int       `json:"attempts"`
	Abandons      int       `json:"abandons"`
	Since         time.Time `json:"since"`
	Died          time.Time `json:"died"`
	PayloadBytes  int       `json:"payload_bytes"`
	Payload       *string   `json:"payload,omitempty"`
	PayloadBase64 []byte    `json:"payload_base64,omitempty"`
	Truncated     bool      `json:"truncated,omitempty"`
	Damaged       string    `json:"damaged,omitempty"`
}

// SetPayload puts the payload where it belongs. What was cut within a character loses
// the part of it.
func (d *DeadLetter) SetPayload(p string, truncated bool) {
	d.Truncated = truncated
	if truncated {
		for cut := 0; cut < utf8.UTFMax && cut < len(p); cut++ {
			if whole := p[:len(p)-cut]; utf8.ValidString(whole) {
				p = whole
				break
			}
		}
	}
	if utf8.ValidString(p) {
		d.Payload = &p
		return
	}
	d.PayloadBase64 = []byte(p)
}

// DeadFilter chooses dead letters; what is not set does not matter. After and Before
// are entries, both excluded, Since and Until times, both included.
type DeadFilter struct {
	Reason, ID, Type, Contains string
	Since, Until               time.Time
	After, Before              string
}

// Swept says how far a change of many dead letters has come: when it is not Done, the same
// filter with this After and Before does the rest.
type Swept struct {
	Changed       int
	Done          bool
	After, Before string
}

// DeadLetters is what can be done with them. Entries are checked by CheckEntry before.
type DeadLetters interface {
	CheckEntry(entry string) error
	// Now gives the time by the clock that dates dead letters, as far as it is known.
	Now(ctx context.Context, queue string) time.Time
	// DeadLetters gives a page; next is empty when that was all.
	DeadLetters(ctx context.Context, queue string, f DeadFilter, newest bool, limit int) (page []DeadLetter, next string, err error)
	DeadLetter(ctx context.Context, queue, entry string) (d DeadLetter, found bool, err error)
	// EachDead calls visit with each that is chosen, oldest first.
	EachDead(ctx context.Context, queue string, f DeadFilter, visit func(DeadLetter) error) error
	// ReplayDead and DeleteDead are about the entries, or, without any, about all that the
	// filter chooses.
	ReplayDead(ctx context.Context, queue string, entries []string, f DeadFilter) (Swept, error)
	DeleteDead(ctx context.Context, queue string, entries []string, f DeadFilter) (Swept, error)
}

// deadQuery is the query of a call about dead letters.
type deadQuery struct {
	DeadFilter
	newest, all bool
	limit       int
}

// parseDeadQuery reads a query. allowed has the names that it may have beside the filter's.
func parseDeadQuery(raw string, now time.Time, check func(string) error, allowed ...string) (q deadQuery, problem string) {
	q = deadQuery{newest: true, limit: defaultLimit}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, "The query is malformed: percent-encode its values."
	}
	for name, list := range values {
		if len(list) != 1 || list[0] == "" {
			return q, "The query has " + strconv.Quote(name) + " without a value, or twice: give it one."
		}
		if problem = q.set(name, list[0], now, check, allowed); problem != "" {
			return q, problem
		}
	}
	return q, ""
}

func (q *deadQuery) set(name, value string, now time.Time, check func(string) error, allowed []string) (problem string) {
	known, problem := q.DeadFilter.set(name, value, now, check)
	if known {
		return problem
	}
	for _, a := range allowed {
		known = known || a == name
	}
	switch {
	case !known:
		return "The query has " + strconv.Quote(name) + ", which this call does not know: see docs/queues.md."
	case name == "order" && (value == "newest" || value == "oldest"):
		q.newest = value == "newest"
	case name == "order":
		return "order " + strconv.Quote(value) + " is neither newest nor oldest."
	case name == "limit":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxLimit {
			return "limit " + strconv.Quote(value) + " is not a number from 1 to 1000."
		}
		q.limit = n
	case name == "all" && value != "true":
		return "all " + strconv.Quote(value) + " is not true: leave it out, or write all=true."
	case name == "all":
		q.all = true
	}
	return ""
}

// set takes in one part of a filter; known is false when it is none.
func (f *DeadFilter) set(name, value string, now time.Time, check func(string) error) (known bool, problem string) {
	var err error
	switch name {
	case "reason":
		f.Reason = value
	case "id":
		f.ID = value
	case "type":
		f.Type = value
	case "contains":
		f.Contains = value
	case "since":
		f.Since, problem = moment(name, value, now)
	case "until":
		f.Until, problem = moment(name, value, now)
	case "after":
		f.After, err = value, check(value)
	case "before":
		f.Before, err = value, check(value)
	default:
		return false, ""
	}
	if err != nil {
		problem = name + ": " + err.Error() + "."
	}
	return true, problem
}

// moment reads a time, or how long ago it was.
func moment(name, value string, now time.Time) (t time.Time, problem string) {
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), ""
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.UnixMilli() < 0 {
		return t, name + " " + strconv.Quote(value) + " is not a time: write RFC 3339, such as 2026-11-25T12:00:00Z, or how long ago, such as 24h."
	}
	return t, ""
}

// empty says that the filter chooses everything.
func (f *DeadFilter) empty() bool { return *f == DeadFilter{} }

// now is the time that "24h ago" counts from.
func (q *queues) now(r *http.Request) time.Time { return q.Now(r.Context(), r.PathValue("queue")) }

func (q *queues) deadList(w http.ResponseWriter, r *http.Request) {
	query, problem := parseDeadQuery(r.URL.RawQuery, q.now(r), q.CheckEntry, "order", "limit")
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	page, next, err := q.Queues.DeadLetters(r.Context(), r.PathValue("queue"), query.DeadFilter, query.newest, query.limit)
	if page == nil {
		page = []DeadLetter{}
	}
	answer := map[string]any{"queue": r.PathValue("queue"), "dead": page}
	if next != "" {
		answer["next"] = next
	}
	q.answer(w, err, answer)
}

// entry gives the entry of the path; empty when the call was answered.
func (q *queues) entry(w http.ResponseWriter, r *http.Request) string {
	e := r.PathValue("entry")
	if err := q.CheckEntry(e); err != nil {
		writeProblem(w, http.StatusBadRequest, "The path: "+err.Error()+".")
		return ""
	}
	return e
}

func (q *queues) deadShow(w http.ResponseWriter, r *http.Request) {
	entry := q.entry(w, r)
	if entry == "" {
		return
	}
	d, found, err := q.DeadLetter(r.Context(), r.PathValue("queue"), entry)
	switch {
	case err != nil:
		q.answer(w, err, nil)
	case !found:
		noEntry(w, entry)
	default:
		writeJSON(w, http.StatusOK, d)
	}
}

func noEntry(w http.ResponseWriter, entry string) {
	writeProblem(w, http.StatusNotFound, "There is no dead letter "+entry+": it was replayed or deleted.")
}

// deadExport sends dead letters as lines of JSON, as they are read. When it has to end
// early, the connection is cut, so that nobody takes a part for the whole.
func (q *queues) deadExport(w http.ResponseWriter, r *http.Request) {
	query, problem := parseDeadQuery(r.URL.RawQuery, q.now(r), q.CheckEntry)
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	out, c, sent := json.NewEncoder(w), http.NewResponseController(w), 0
	out.SetEscapeHTML(false)
	begin := func() {
		if sent == 0 {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Cache-Control", "no-store")
		}
		sent++
	}
	err := q.EachDead(r.Context(), r.PathValue("queue"), query.DeadFilter, func(d DeadLetter) error {
		begin()
		_ = c.SetWriteDeadline(time.Now().Add(exportIdle)) // instead of one for the whole
		return out.Encode(d)
	})
	_ = c.SetWriteDeadline(time.Now().Add(exportIdle)) // a filter may have looked for longer
	switch {
	case err != nil && sent == 0:
		q.answer(w, err, nil)
	case err != nil:
		panic(http.ErrAbortHandler)
	default:
		begin()
	}
}

// replayCall is the body of a replay: entries, all, or a filter.
type replayCall struct {
	Entries  []string `json:"entries"`
	All      bool     `json:"all"`
	Reason   string   `json:"reason"`
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Contains string   `json:"contains"`
	Since    string   `json:"since"`
	Until    string   `json:"until"`
	After    string   `json:"after"`
	Before   string   `json:"before"`
}

// parse checks that it is clear what is to be replayed.
func (c *replayCall) parse(now time.Time, check func(string) error) (f DeadFilter, problem string) {
	for _, p := range [][2]string{
		{"reason", c.Reason}, {"id", c.ID}, {"type", c.Type}, {"contains", c.Contains},
		{"since", c.Since}, {"until", c.Until}, {"after", c.After}, {"before", c.Before},
	} {
		if p[1] == "" {
			continue
		}
		if _, problem = f.set(p[0], p[1], now, check); problem != "" {
			return f, problem
		}
	}
	if len(c.Entries) > maxEntries {
		return f, `"entries" has more than 1000: make several calls.`
	}
	for _, e := range c.Entries {
		if err := check(e); err != nil {
			return f, "entries: " + err.Error() + "."
		}
	}
	return f, oneChoice(len(c.Entries) > 0, c.All, f)
}

// oneChoice refuses what would change dead letters that nobody meant. With all there may be
// the bounds of a change that was not done.
func oneChoice(entries, all bool, f DeadFilter) (problem string) {
	bounds := DeadFilter{After: f.After, Before: f.Before}
	switch {
	case !entries && !all && f.empty():
		return `Say which dead letters: "entries", a filter, or "all".`
	case entries && (all || !f.empty()), all && f != bounds:
		return `Give one of "entries", "all" and a filter.`
	}
	return ""
}

func (q *queues) deadReplay(w http.ResponseWriter, r *http.Request) {
	var call replayCall
	if err := readCall(w, r, &call); err != nil {
		writeProblem(w, http.StatusBadRequest, `The body is not {"entries": ["…"]}, {"all": true} or a filter such as {"reason": "gone"}: `+err.Error())
		return
	}
	f, problem := call.parse(q.now(r), q.CheckEntry)
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sweepTime)
	defer cancel()
	swept, err := q.ReplayDead(ctx, r.PathValue("queue"), call.Entries, f)
	q.answer(w, err, swept.answer("replayed"))
}

func (q *queues) deadDelete(w http.ResponseWriter, r *http.Request) {
	entry := q.entry(w, r)
	if entry == "" {
		return
	}
	swept, err := q.DeleteDead(r.Context(), r.PathValue("queue"), []string{entry}, DeadFilter{})
	if err == nil && swept.Changed == 0 {
		noEntry(w, entry)
		return
	}
	q.answer(w, err, swept.answer("deleted"))
}

func (q *queues) deadDeleteMany(w http.ResponseWriter, r *http.Request) {
	query, problem := parseDeadQuery(r.URL.RawQuery, q.now(r), q.CheckEntry, "all")
	if problem == "" {
		problem = oneChoice(false, query.all, query.DeadFilter)
	}
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sweepTime)
	defer cancel()
	swept, err := q.DeleteDead(ctx, r.PathValue("queue"), nil, query.DeadFilter)
	q.answer(w, err, swept.answer("deleted"))
}

// answer tells how far it came.
func (s Swept) answer(what string) map[string]any {
	out := map[string]any{what: s.Changed, "done": s.Done}
	if !s.Done {
		out["before"] = s.Before
		if s.After != "" {
			out["after"] = s.After
		}
	}
	return out
}
