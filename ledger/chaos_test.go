//go:build linux

package ledger

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// plan is how many failures there are.
type plan struct{ kills, outages, restarts, pauses int }

// event is one failure: it comes when so many tasks are done, and some time after that.
type event struct {
	mark  int
	after time.Duration
	run   func()
}

// toll counts what has happened.
type toll struct {
	kills, double, blind  int
	outages               [modes]int
	restarts, clean       int
	pauses, expired       int
	killed, cut, restored int // deliveries in flight at these
	paused                int
}

// chaos makes things fail. It is for one goroutine, but for what mu guards.
type chaos struct {
	tb     testing.TB
	rng    *rand.Rand
	book   *book
	app    *app
	broker *broker
	agents []*agent
	lease  time.Duration
	ends   sync.WaitGroup // of outages

	kills int // left to do
	toll  toll

	outage chan struct{} // closed when the last outage has ended
	resume []resumption
}

// resumption is when a stopped agent goes on.
type resumption struct {
	agent *agent
	at    time.Time
}

// schedule draws the failures of a run: each at a random place of its share of the work,
// some kills and restarts of Redis in the middle of an outage.
func (c *chaos) schedule(p plan, total int) []event {
	c.kills = p.kills
	var events []event
	spread := func(count int, run func(i int)) {
		for i := range count {
			share := float64(i) + c.rng.Float64()
			mark := int((0.01 + 0.95*share/float64(max(count, 1))) * float64(total))
			events = append(events, event{mark: mark, after: c.upTo(5 * time.Millisecond), run: func() { run(i) }})
		}
	}
	spread(p.outages, func(i int) { c.startOutage(mode(1 + i%int(modes-1))) })
	outages := len(events)
	inside := func(count int, run func(i int)) {
		if outages == 0 {
			count = 0
		}
		for i := range count {
			o := events[c.rng.IntN(outages)]
			events = append(events, event{mark: o.mark, after: o.after + c.upTo(time.Second), run: func() { run(i) }})
		}
	}
	kill, restart := func(int) { c.kill() }, func(int) { c.restartRedis() }
	inside(p.kills/5, kill)
	spread(p.kills-p.kills/5, kill)
	inside(p.restarts/2, restart)
	spread(p.restarts-p.restarts/2, restart)
	spread(p.pauses, func(int) { c.pause() })
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.mark, b.mark), cmp.Compare(a.after, b.after))
	})
	return events
}

func (c *chaos) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// startOutage lets the application fail for a while. One outage follows the other.
func (c *chaos) startOutage(m mode) {
	c.awaitOutage()
	c.toll.outages[m]++
	length := 200*time.Millisecond + c.upTo(2*time.Second)
	if m == hung && c.toll.outages[m]%2 == 1 {
		length += webhookTimeout // every second one outlasts the deliveries
	}
	if m == refused {
		c.cut()
	} else {
		c.app.set(m)
	}
	ended := make(chan struct{})
	c.outage = ended
	c.ends.Go(func() {
		defer close(ended)
		awaitEnd(nil, length)
		if m != refused {
			c.app.set(fine)
			return
		}
		if err := c.app.open(); err != nil {
			c.tb.Errorf("the application cannot come back: %v", err)
		}
	})
}

func (c *chaos) awaitOutage() {
	if c.outage != nil {
		<-c.outage
	}
}

// cut closes the application. What it has done, and the agents do not know, is in flight.
func (c *chaos) cut() {
	c.app.shut()
	for _, n := range c.broker.unfinished() {
		if c.book.done[n].Load() > 0 {
			c.book.excuse(n)
			c.toll.cut++
		}
	}
}

// kill kills one agent, sometimes two at a time, notes what they had in flight, and
// starts them again at once.
func (c *chaos) kill() {
	if c.kills <= 0 {
		return // others were killed two at a time
	}
	victims := c.victims()
	for _, a := range victims {
		a.kill()
	}
	c.buryAgents(victims)
	for _, a := range victims {
		a.start()
	}
}

// victims draws one or two agents and counts them.
func (c *chaos) victims() []*agent {
	count := 1
	if c.kills > 1 && c.rng.IntN(5) == 0 {
		count = 2
		c.toll.double++
	}
	c.kills -= count
	c.toll.kills += count
	var victims []*agent
	for _, i := range c.rng.Perm(len(c.agents))[:count] {
		victims = append(victims, c.agents[i])
	}
	return victims
}

// buryAgents notes what dead agents had in flight.
func (c *chaos) buryAgents(victims []*agent) {
	for _, a := range victims {
		ns := c.broker.inFlight(a.name)
		c.book.excuse(ns...)
		c.toll.killed += len(ns)
	}
}

// restartRedis ends Redis, by SIGKILL or by SHUTDOWN, for up to a second. Sometimes an
// agent dies meanwhile.
func (c *chaos) restartRedis() {
	c.toll.restarts++
	srv := c.broker.srv
	if c.rng.IntN(2) == 0 {
		srv.Kill()
	} else {
		c.toll.clean++
		_, _ = srv.Command("SHUTDOWN", "NOSAVE")
		<-srv.Exited()
	}
	var victims []*agent
	if c.kills > 0 && c.rng.IntN(2) == 0 {
		c.toll.blind++
		victims = c.victims()
		for _, a := range victims {
			a.kill()
		}
	}
	awaitEnd(nil, c.upTo(time.Second))
	if err := srv.Restart(); err != nil {
		c.tb.Fatal(err)
	}
	c.buryAgents(victims)
	for _, a := range victims {
		a.start()
	}
	ns := c.broker.inFlight("")
	c.book.excuse(ns...)
	c.toll.restored += len(ns)
}

// pause stops an agent for longer than its leases.
func (c *chaos) pause() {
	a := c.agents[c.rng.IntN(len(c.agents))]
	if a.paused {
		return
	}
	c.toll.pauses++
	a.pause()
	ns := c.broker.inFlight(a.name)
	c.book.excuse(ns...)
	c.toll.paused += len(ns)
	c.resume = append(c.resume, resumption{a, time.Now().Add(c.lease + time.Second + c.upTo(2*time.Second))})
}

// tick lets stopped agents go on when it is time, and looks for leases that ended
// without any failure of ours, because the machine was too busy to renew them.
func (c *chaos) tick() {
	c.resume = slices.DeleteFunc(c.resume, func(r resumption) bool {
		over := time.Now().After(r.at)
		if over {
			r.agent.resume()
		}
		return over
	})
	for _, a := range c.agents {
		if a.paused {
			continue
		}
		ns := c.broker.expired(a.name)
		c.book.excuse(ns...)
		c.toll.expired += len(ns)
	}
}
