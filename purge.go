package pillion

import (
	"context"
	"errors"

	"github.com/pillion-proxy/pillion/admin"
)

// PurgeTag makes every stored response with the tag invalid, on every pod, with one
// write to Redis. When it returns, this process serves none of them.
func (p *Pillion) PurgeTag(ctx context.Context, tag string) error { return p.store.PurgeTag(ctx, tag) }

// PurgeURL removes the stored public response of one URL, with all its variants.
// target is the path and query as a client sends them. found is false when Redis
// had none. A fill that is under way cannot store what it brings.
func (p *Pillion) PurgeURL(ctx context.Context, host, target string) (found bool, err error) {
	return p.handlers[0].PurgeURL(ctx, host, target)
}

// Purge purges by tag, URL, prefix, glob, or everything, hard or soft, as admin.Purge
// says. When it returns, this process no longer serves what was purged; other pods
// hear of it from Redis within milliseconds. By tag it is one write; by prefix, glob,
// everything, and softly by URL, it goes through every key in Redis (SCAN). purged
// counts the keys that were removed or marked; 0 for a tag.
func (p *Pillion) Purge(ctx context.Context, what admin.Purge) (purged int, err error) {
	switch {
	case what.Tag != "" && what.Soft:
		return 0, p.store.SoftPurgeTag(ctx, what.Tag)
	case what.Tag != "":
		return 0, p.store.PurgeTag(ctx, what.Tag)
	case what.Host != "" && what.Soft:
		return p.handlers[0].PurgeExactly(ctx, what.Host, what.Target)
	case what.Host != "":
		found, err := p.handlers[0].PurgeURL(ctx, what.Host, what.Target)
		if found {
			purged = 1
		}
		return purged, err
	case what.Prefix != "":
		return p.handlers[0].PurgeMatching(ctx, what.Prefix, true, what.Soft)
	case what.Glob != "":
		return p.handlers[0].PurgeMatching(ctx, what.Glob, false, what.Soft)
	case what.All:
		return p.handlers[0].PurgeMatching(ctx, "/", true, what.Soft)
	}
	return 0, errors.New("pillion: nothing to purge is named")
}
