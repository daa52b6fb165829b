package proxy

import (
	"context"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// live is a response whose body is still coming, for those who wait for it.
type live struct {
	dep    *deposit
	header fasthttp.ResponseHeader
	marks  [][]byte
	spool  *spool
	size   int
}

func (x *exchange) liveResponse(dep *deposit, sp *spool, size int) *live {
	l := &live{dep: dep, spool: sp, size: size}
	x.ctx.Response.Header.CopyTo(&l.header)
	for _, t := range dep.entry.Tags {
		l.marks = append(l.marks, cache.AppendTagName(nil, x.h.prefix, t.Tag))
	}
	return l
}

// serveLive answers with the body as it comes, if this request may have it.
func (x *exchange) serveLive(l *live) bool {
	if !x.mayHave(l) {
		return false
	}
	resp := &x.ctx.Response
	l.header.CopyTo(&resp.Header)
	x.status = resp.StatusCode()
	x.stream(&spoolReader{s: l.spool, ctx: x.ctx, extend: x.snap.server.WriteTimeout}, l.size)
	x.outcome = outcomeCollapsed
	x.addStatus(cache.Status{Fwd: x.fwd, FwdStatus: x.status, Collapsed: true})
	return true
}

// mayHave says whether the response is the one for this request, and was not purged
// since its fill began: whoever asks after a purge must not get what is from before.
func (x *exchange) mayHave(l *live) bool {
	dep := l.dep
	if dep.names == nil {
		if string(dep.entry.Key) != string(x.keyText) {
			return false
		}
	} else if !x.setVariant(dep.names, dep.generation) || string(dep.entry.Key) != string(x.varyText) {
		return false
	}
	if !x.allowed(&stored{entry: cache.Entry{Flags: dep.entry.Flags}}) || x.directives.NoCache {
		return false
	}
	for i := range l.marks {
		mark, err := x.h.store.Mark(context.Background(), l.marks[i], x.now)
		if err != nil || mark != string(dep.entry.Tags[i].Mark) {
			return false
		}
	}
	if dep.lease == nil {
		return dep.redisDown
	}
	// Its own lease: after a purge another pod may have taken one of the same name.
	held, err := x.h.store.Holds(context.Background(), dep.lease)
	return err == nil && held
}
