package cache

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/redisconn"
)

//go:embed lua/softmark.lua
var softMarkScript string

//go:embed lua/soften.lua
var softenScript string

// scanBatch is how many keys one SCAN looks at, and scanWait bounds one command of a
// scan: it is no request's wait.
const (
	scanBatch = 500
	scanWait  = 5 * time.Second
	// keyWithin is how much of an entry is read to find its key, which is bounded.
	keyWithin = 16 << 10
)

// SoftPurgeTag makes every entry with the tag stale, on every pod, with one script: it
// may still be validated, or served while that is done.
func (s *Store) SoftPurgeTag(ctx context.Context, tag string) error {
	key := TagName(s.conn.Prefix(), []byte(tag))
	_, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		err := rueidis.NewLuaScript(softMarkScript).Exec(ctx, c, []string{key}, []string{strconv.FormatInt(MarkLife(s.maxTTL).Milliseconds(), 10)}).Error()
		if err != nil {
			return 0, err
		}
		return 1, c.Do(ctx, c.B().Exists().Key(key).Build()).Error() // see Put
	})
	s.conn.Forget(key)
	return err
}

// SplitMark cuts a purge mark into what a hard purge left and when a soft purge came,
// in Unix milliseconds; 0 when none did.
func SplitMark(mark string) (hard string, softAt int64) {
	hard, soft, ok := strings.Cut(mark, "~")
	if !ok {
		return mark, 0
	}
	at, err := strconv.ParseInt(soft, 10, 64)
	if err != nil || at <= 0 {
		return mark, 0 // not ours: any value may be a mark
	}
	return hard, at
}

// TargetOf gives the host, and the path with the query, that the text of a key is
// about. It is false for what is no key.
func TargetOf(key []byte) (host, target []byte, ok bool) {
	if len(key) < 2 {
		return nil, nil, false
	}
	rest := key[1:]
	if key[0] != 'p' {
		if _, rest, ok = cutSized(rest); !ok {
			return nil, nil, false
		}
	}
	if rest, ok = bytes.CutPrefix(rest, []byte{';'}); !ok {
		return nil, nil, false
	}
	if host, rest, ok = cutSized(rest); !ok {
		return nil, nil, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte{';'}); !ok {
		return nil, nil, false
	}
	path, query, ok := cutSized(rest)
	if !ok {
		return nil, nil, false
	}
	// What the rule's Key, or a variant, adds begins with a control character.
	if i := bytes.IndexFunc(query, func(r rune) bool { return r < ' ' }); i >= 0 {
		query = query[:i]
	}
	return host, append(path[:len(path):len(path)], query...), true
}

// cutSized cuts what appendSized wrote.
func cutSized(b []byte) (value, rest []byte, ok bool) {
	colon := bytes.IndexByte(b, ':')
	if colon < 1 || colon > 6 {
		return nil, nil, false
	}
	n, err := strconv.Atoi(string(b[:colon]))
	if b = b[colon+1:]; err != nil || n < 0 || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// scanner is the client that scans go through.
type scanner interface{ Client() rueidis.Client }

// PurgeMatching removes every entry whose host and target match, with SCAN and
// UNLINK: it looks at every key in Redis. soft marks them stale instead. Fills that
// are under way, of whatever key, store nothing. When it returns, this process serves
// none of the entries, and purged is their number.
func (s *Store) PurgeMatching(ctx context.Context, soft bool, match func(host, target []byte) bool) (purged int, err error) {
	conn, ok := s.conn.(scanner)
	if !ok || conn.Client() == nil {
		return 0, fmt.Errorf("%w: not connected", redisconn.ErrUnavailable)
	}
	client := conn.Client()
	nodes, err := masters(ctx, client)
	if err != nil {
		return 0, err
	}
	for _, node := range nodes {
		// Leases first: a fill that has not stored yet must not do so behind the scan.
		if _, err = scan(ctx, node, s.conn.Prefix()+"[lc]:*", func(keys []string) (int, error) {
			return unlink(ctx, client, onlyLeases(keys, s.conn.Prefix()))
		}); err != nil {
			return purged, err
		}
		n, err := scan(ctx, node, s.conn.Prefix()+"c:*", func(keys []string) (int, error) {
			found, err := matching(ctx, client, keys, match)
			if err != nil || !soft {
				n, uerr := unlink(ctx, client, found)
				return n, errors.Join(err, uerr)
			}
			return soften(ctx, client, found)
		})
		if purged += n; err != nil {
			return purged, err
		}
	}
	if err = s.barrier(ctx, nodes); err == nil && purged > 0 && !s.conn.Tracking() {
		s.conn.ForgetAll() // nobody tells which keys have changed
	}
	return purged, err
}

// masters gives the nodes that have keys.
func masters(ctx context.Context, c rueidis.Client) (map[string]rueidis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, scanWait)
	defer cancel()
	return redisconn.Masters(ctx, c)
}

// scan goes through the keys of a node.
func scan(ctx context.Context, node rueidis.Client, pattern string, f func(keys []string) (int, error)) (total int, err error) {
	for cursor := uint64(0); ; {
		sctx, cancel := context.WithTimeout(ctx, scanWait)
		page, err := node.Do(sctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanBatch).Build()).AsScanEntry()
		cancel()
		if err != nil {
			return total, fmt.Errorf("%w: %w", redisconn.ErrUnavailable, err)
		}
		if len(page.Elements) > 0 {
			n, err := f(page.Elements)
			if total += n; err != nil {
				return total, fmt.Errorf("%w: %w", redisconn.ErrUnavailable, err)
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return total, nil
		}
	}
}

func onlyLeases(keys []string, prefix string) (leases []string) {
	for _, k := range keys {
		if strings.HasPrefix(k, prefix+"l:") || strings.HasSuffix(k, "}:l") || strings.HasSuffix(k, ":l") {
			leases = append(leases, k)
		}
	}
	return leases
}

// matching gives the keys whose entries match: the beginning of each is read.
func matching(ctx context.Context, c rueidis.Client, keys []string, match func(host, target []byte) bool) ([]string, error) {
	cmds := make(rueidis.Commands, len(keys))
	for i, k := range keys {
		cmds[i] = c.B().Getrange().Key(k).Start(0).End(keyWithin).Build()
	}
	sctx, cancel := context.WithTimeout(ctx, scanWait)
	defer cancel()
	var found []string
	for i, r := range c.DoMulti(sctx, cmds...) {
		raw, err := r.AsBytes()
		if err != nil {
			if _, ok := rueidis.IsRedisErr(err); ok {
				continue // not a string: not ours
			}
			return found, err
		}
		var e Entry
		_ = e.UnmarshalTrusted(raw) // cut short, but the key stands near the beginning
		if host, target, ok := TargetOf(e.Key); ok && match(host, target) {
			found = append(found, keys[i])
		}
	}
	return found, nil
}

func unlink(ctx context.Context, c rueidis.Client, keys []string) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	cmds := make(rueidis.Commands, len(keys)) // one each: they are in different slots
	for i, k := range keys {
		cmds[i] = c.B().Unlink().Key(k).Build()
	}
	sctx, cancel := context.WithTimeout(ctx, scanWait)
	defer cancel()
	for _, r := range c.DoMulti(sctx, cmds...) {
		gone, rerr := r.AsInt64()
		n, err = n+int(gone), errors.Join(err, rerr)
	}
	return n, err
}

// soften marks entries stale, one at a time: each is read and written whole.
func soften(ctx context.Context, c rueidis.Client, keys []string) (n int, err error) {
	script := rueidis.NewLuaScript(softenScript)
	for _, k := range keys {
		sctx, cancel := context.WithTimeout(ctx, scanWait)
		raw, gerr := c.Do(sctx, c.B().Get().Key(k).Build()).AsBytes()
		var e Entry
		if gerr == nil && e.Unmarshal(raw) == nil && e.Kind == KindResponse {
			e.SoftPurgedAt = time.Now().UnixMilli()
			sum := string(raw[len(raw)-checksumSize:])
			done, serr := script.Exec(sctx, c, []string{k}, []string{sum, rueidis.BinaryString(Encode(nil, &e))}).AsInt64()
			n, err = n+int(done), errors.Join(err, serr)
		} else if gerr != nil && !rueidis.IsRedisNil(gerr) {
			err = errors.Join(err, gerr)
		}
		cancel()
	}
	return n, err
}

// barrier returns when this process has applied the invalidations of what was done
// before, on every node: they stand before the reply on the connection.
func (s *Store) barrier(ctx context.Context, nodes map[string]rueidis.Client) error {
	for _, node := range nodes {
		sctx, cancel := context.WithTimeout(ctx, scanWait)
		err := node.Do(sctx, node.B().Ping().Build()).Error()
		cancel()
		if err != nil {
			return fmt.Errorf("%w: %w", redisconn.ErrUnavailable, err)
		}
	}
	return nil
}

// MatchGlob matches text against a glob in which "*" stands for any characters, none
// included.
func MatchGlob(glob string, text []byte) bool { return matchGlob(glob, text) }
