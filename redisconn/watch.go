package redisconn

import "slices"

// watcher is told when its key may have changed.
type watcher struct{ ch chan struct{} }

// notify never blocks: the channel holds one signal, and one is enough.
func notify(ws []*watcher) {
	for _, w := range ws {
		select {
		case w.ch <- struct{}{}:
		default:
		}
	}
}

// Watch signals on the channel when the key was invalidated after it was read with
// client-side caching (rueidis DoCache, any command), and when the tracking
// connection was lost. One signal may stand for several changes. Without tracking
// it never signals. stop ends the watch.
func (c *Conn) Watch(key string) (changed <-chan struct{}, stop func()) {
	w := &watcher{ch: make(chan struct{}, 1)}
	s := c.mem.shard(key)
	s.mu.Lock()
	s.watchers[key] = append(s.watchers[key], w)
	s.mu.Unlock()
	return w.ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		left := slices.DeleteFunc(s.watchers[key], func(o *watcher) bool { return o == w })
		if len(left) == 0 {
			delete(s.watchers, key)
			return
		}
		s.watchers[key] = left
	}
}
