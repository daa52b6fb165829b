package pillion

import "context"

// PurgeTag makes every stored response with the tag invalid, on every pod, with one
// write to Redis. When it returns, this process serves none of them.
func (p *Pillion) PurgeTag(ctx context.Context, tag string) error { return p.store.PurgeTag(ctx, tag) }

// PurgeURL removes the stored public response of one URL, with all its variants.
// target is the path and query as a client sends them. found is false when Redis
// had none. A fill that is under way cannot store what it brings.
func (p *Pillion) PurgeURL(ctx context.Context, host, target string) (found bool, err error) {
	return p.handlers[0].PurgeURL(ctx, host, target)
}
