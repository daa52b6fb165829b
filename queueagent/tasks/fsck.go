package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Fault is a kind of damage to a queue, or of something that its operator should know.
type Fault string

// The faults. Those of the first group are found, and judged, by fsck.lua.
const (
	FaultOrphan          Fault = "orphan"             // a record that is neither leased nor waits
	FaultBoth            Fault = "leased_and_waiting" // one id is leased and waits in retry
	FaultTwice           Fault = "leased_twice"
	FaultRecord          Fault = "bad_record"     // its envelope cannot be read
	FaultLease           Fault = "bad_lease"      // its name is not "<id>|<token>"
	FaultLeaseTime       Fault = "bad_lease_time" // of no time that anybody meant
	FaultDueTime         Fault = "bad_due_time"   // likewise
	FaultEmptyLease      Fault = "empty_lease"    // a lease without a record: a late acknowledgement
	FaultEmptyRetry      Fault = "empty_retry"    // likewise, a retry
	FaultType            Fault = "wrong_type"     // a key is of another type than the queue's
	FaultDead            Fault = "bad_dead_letter"
	FaultPending         Fault = "pending_entries" // the group holds entries that are no tasks yet
	FaultNoGroup         Fault = "no_group"
	FaultExpired         Fault = "expired_leases"
	FaultPaused          Fault = "paused"
	FaultStray           Fault = "stray_key"
	FaultEviction        Fault = "eviction"
	FaultPersistence     Fault = "persistence"
	FaultReplicas        Fault = "replicas"
	FaultNotKnown        Fault = "not_known"
	maxFindings                = 1000
	maxJudge                   = 500
	expiredGrace               = time.Minute
	scanFirst, scanMost        = 10, 500
	scanSmall, scanLarge       = 64 << 10, 1 << 20
)

// Level says how bad a fault is.
type Level string

// The levels.
const (
	Broken   Level = "broken"   // an invariant does not hold: tasks are lost, stuck or delivered twice
	Harmless Level = "harmless" // costs a little memory, and goes away by itself or by a repair
	Info     Level = "info"     // for a person to judge
)

// Level gives how bad the fault is.
func (f Fault) Level() Level {
	switch f {
	case FaultEmptyLease, FaultEmptyRetry:
		return Harmless
	case FaultNoGroup, FaultExpired, FaultPaused, FaultStray, FaultPersistence, FaultReplicas, FaultNotKnown:
		return Info
	}
	return Broken
}

// Finding is one fault of one thing.
type Finding struct {
	Fault    Fault  `json:"fault"`
	Level    Level  `json:"level"`
	Queue    string `json:"queue,omitempty"`
	What     string `json:"what,omitempty"` // a task's id, a key or an entry
	Detail   string `json:"detail,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
}

// Report is what a check has found.
type Report struct {
	Queue string `json:"queue,omitempty"`
	// Records, Leases, Retries and Dead are how many were looked at; while the queue is
	// worked on, they are not of one moment.
	Records int `json:"records"`
	Leases  int `json:"leases"`
	Retries int `json:"retries"`
	Dead    int `json:"dead"`
	// Counts has the number of findings of each kind, Findings the first 1000.
	Counts   map[Fault]int `json:"counts"`
	Findings []Finding     `json:"findings"`
	repaired int           // of the broken ones
}

func (r *Report) add(fault Fault, what, detail string, repaired bool) {
	if r.Counts == nil {
		r.Counts = make(map[Fault]int)
	}
	r.Counts[fault]++
	if repaired && fault.Level() == Broken {
		r.repaired++
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, Finding{fault, fault.Level(), r.Queue, what, detail, repaired})
	}
}

// Broken says whether an invariant does not hold, and was not repaired.
func (r *Report) Broken() bool {
	left := 0
	for fault, n := range r.Counts {
		if fault.Level() == Broken {
			left += n
		}
	}
	return left > r.repaired
}

// Summary says in a few words what was found.
func (r *Report) Summary() string {
	var faults []string
	for fault, n := range r.Counts {
		if fault.Level() != Info {
			faults = append(faults, fmt.Sprintf("%s %d", fault, n))
		}
	}
	if len(faults) == 0 {
		return "nothing wrong"
	}
	slices.Sort(faults)
	return strings.Join(faults, ", ")
}

// Add notes a finding.
func (r *Report) Add(fault Fault, what, detail string) { r.add(fault, what, detail, false) }

// fsck is one check of one queue.
type fsck struct {
	*Store
	c      rueidis.Client
	repair bool
	report Report
	// leased are the ids that had a lease when the leases were read. Of others the records are judged.
	leased  map[string]struct{}
	suspect []string
	expired int
}

// Fsck proves what must hold in the queue, also while agents work on it: what looks wrong
// in what is read piece by piece is judged again by a script, which sees one moment. With
// repair, what is found is put right by the same script.
func (s *Store) Fsck(ctx context.Context, repair bool) (Report, error) {
	c, err := s.client()
	if err != nil {
		return Report{}, err
	}
	if _, err := s.Clock(ctx); err != nil {
		return Report{}, err
	}
	f := &fsck{Store: s, c: c, repair: repair, report: Report{Queue: s.Queue}, leased: make(map[string]struct{})}
	typesOK, err := f.types(ctx)
	if err != nil {
		return f.report, err
	}
	steps := []func(context.Context) error{f.leases, f.retries, f.records, f.dead, f.source, f.control}
	if !typesOK {
		return f.report, nil // nothing else can be read
	}
	for _, step := range steps {
		if err := errors.Join(step(ctx), f.judge(ctx, 0)); err != nil {
			return f.report, err
		}
	}
	if f.expired > 0 {
		f.report.add(FaultExpired, s.Keys.Leases, fmt.Sprintf("%d leases ended more than %s ago and were not taken: no agent runs", f.expired, expiredGrace), false)
	}
	return f.report, nil
}

// do runs commands that are made for this check.
func (f *fsck) do(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return f.c.DoMulti(ctx, cmds...)
}

// types checks the type of each key.
func (f *fsck) types(ctx context.Context) (ok bool, err error) {
	source := map[Kind]string{List: "list", Delay: "zset", Stream: "stream"}[f.Source.Kind]
	ok = true
	for _, k := range []struct{ key, want string }{
		{f.Keys.Source, source}, {f.Keys.Records, "hash"}, {f.Keys.Leases, "zset"},
		{f.Keys.Retry, "zset"}, {f.Keys.Dead, "stream"}, {f.Keys.Control, "hash"},
	} {
		got, err := f.do(ctx, f.c.B().Type().Key(k.key).Build())[0].ToString()
		if err != nil {
			return false, err
		}
		if got != "none" && got != k.want {
			f.report.add(FaultType, k.key, "it is a "+got+": want a "+k.want, false)
			ok = ok && k.key == f.Keys.Source // that one is read apart
		}
	}
	return ok, nil
}

// leases notes who is leased, and suspects what cannot be right.
func (f *fsck) leases(ctx context.Context) error {
	late := float64(f.Now().Add(-expiredGrace).UnixMilli())
	return f.zscan(ctx, f.Keys.Leases, func(members []rueidis.ZScore) error {
		f.report.Leases += len(members)
		cmds := make(rueidis.Commands, 0, 2*len(members))
		for _, m := range members {
			id, _, _ := strings.Cut(m.Member, "|")
			cmds = append(cmds, f.c.B().Hexists().Key(f.Keys.Records).Field(id).Build(),
				f.c.B().Zscore().Key(f.Keys.Retry).Member(id).Build())
		}
		replies := f.do(ctx, cmds...)
		for i, m := range members {
			id, _, named := strings.Cut(m.Member, "|")
			there, err := replies[2*i].AsBool()
			if err != nil {
				return err
			}
			_, twice := f.leased[id]
			f.leased[id] = struct{}{}
			if !named || !there || twice || replies[2*i+1].Error() == nil || !f.plausible(m.Score) {
				f.suspect = append(f.suspect, id)
			}
			if f.plausible(m.Score) && m.Score < late {
				f.expired++
			}
		}
		return f.judge(ctx, maxJudge)
	})
}

// plausible is what fsck.lua calls so.
func (f *fsck) plausible(ms float64) bool {
	return ms >= 1e11 && ms <= float64(f.Now().UnixMilli())+10*365*86400*1000
}

func (f *fsck) retries(ctx context.Context) error {
	return f.zscan(ctx, f.Keys.Retry, func(members []rueidis.ZScore) error {
		f.report.Retries += len(members)
		cmds := make(rueidis.Commands, len(members))
		for i, m := range members {
			cmds[i] = f.c.B().Hexists().Key(f.Keys.Records).Field(m.Member).Build()
		}
		for i, r := range f.do(ctx, cmds...) {
			there, err := r.AsBool()
			if err != nil {
				return err
			}
			if !there || !f.plausible(members[i].Score) {
				f.suspect = append(f.suspect, members[i].Member)
			}
		}
		return f.judge(ctx, maxJudge)
	})
}

// zscan calls visit with each page of a sorted set.
func (f *fsck) zscan(ctx context.Context, key string, visit func([]rueidis.ZScore) error) error {
	for cursor := uint64(0); ; {
		page, err := f.do(ctx, f.c.B().Zscan().Key(key).Cursor(cursor).Count(MaxBatch/4).Build())[0].AsScanEntry()
		if err != nil {
			return err
		}
		members := make([]rueidis.ZScore, 0, len(page.Elements)/2)
		for i := 0; i+1 < len(page.Elements); i += 2 {
			score, err := strconv.ParseFloat(page.Elements[i+1], 64)
			if err != nil {
				return fmt.Errorf("%s has the score %q: %w", key, page.Elements[i+1], err)
			}
			members = append(members, rueidis.ZScore{Member: page.Elements[i], Score: score})
		}
		for len(members) > 0 { // a small set comes as one page
			n := min(len(members), MaxBatch)
			if err := visit(members[:n]); err != nil {
				return err
			}
			members = members[n:]
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// records reads the ids of the records, some at a time: HSCAN reads their payloads too,
// in Redis, so how many it may take depends on how large they are.
func (f *fsck) records(ctx context.Context) error {
	k, count := &f.Keys, scanFirst
	for cursor := "0"; ; {
		reply, err := f.exec(ctx, f.Scripts.fsck, []string{k.Records, k.Leases, k.Retry, k.Dead},
			[]string{"scan", cursor, strconv.Itoa(count)}).ToArray()
		if err != nil {
			return err
		}
		var bytes int64
		if cursor, bytes, err = f.suspectRecords(reply); err != nil {
			return err
		}
		if err := f.judge(ctx, maxJudge); err != nil || cursor == "0" {
			return errors.Join(err, f.countRecords(ctx))
		}
		switch {
		case bytes < scanSmall:
			count = min(2*count, scanMost)
		case bytes > scanLarge:
			count = max(count/2, 1)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// suspectRecords reads a reply of the mode scan.
func (f *fsck) suspectRecords(reply []rueidis.RedisMessage) (cursor string, bytes int64, err error) {
	if len(reply) < 2 || len(reply)%2 != 0 {
		return "", 0, fmt.Errorf("fsck gave %d values: want an even number", len(reply))
	}
	if cursor, err = reply[0].ToString(); err != nil {
		return "", 0, err
	}
	if bytes, err = reply[1].AsInt64(); err != nil {
		return "", 0, err
	}
	for i := 2; i < len(reply); i += 2 {
		id, errA := reply[i].ToString()
		damaged, errB := reply[i+1].ToString()
		if err := errors.Join(errA, errB); err != nil {
			return "", 0, err
		}
		if _, leased := f.leased[id]; !leased || damaged == "1" {
			f.suspect = append(f.suspect, id)
		}
	}
	return cursor, bytes, nil
}

func (f *fsck) countRecords(ctx context.Context) error {
	n, err := f.do(ctx, f.c.B().Hlen().Key(f.Keys.Records).Build())[0].AsInt64()
	f.report.Records = int(n)
	return err
}

// judge has the suspects judged by the script, unless they are fewer than least.
func (f *fsck) judge(ctx context.Context, least int) error {
	if len(f.suspect) == 0 || len(f.suspect) < least {
		return nil
	}
	k := &f.Keys
	for len(f.suspect) > 0 {
		n := min(len(f.suspect), maxJudge)
		reply, err := f.exec(ctx, f.Scripts.fsck, []string{k.Records, k.Leases, k.Retry, k.Dead},
			append([]string{"judge", flag(f.repair)}, f.suspect[:n]...)).AsStrSlice()
		if err != nil {
			return err
		}
		if len(reply)%3 != 0 {
			return fmt.Errorf("fsck gave %d values: want triples", len(reply))
		}
		for i := 0; i < len(reply); i += 3 {
			f.report.add(Fault(reply[i+1]), reply[i], Fault(reply[i+1]).remedy(), reply[i+2] == "1")
		}
		f.suspect = f.suspect[n:]
	}
	f.suspect = nil
	return nil
}
