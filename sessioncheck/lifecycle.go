package sessioncheck

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/redisconn"
)

//go:embed scripts/rotate.lua
var rotateScript string

// idBytes is the entropy of a session id: 256 bits, 43 characters of base64url.
const idBytes = 32

// Redis is what the lifecycle and the records of users need. *redisconn.Conn is one.
type Redis interface {
	// Write runs one command that changes key, and Remove deletes keys: this process's
	// memory is right when they return.
	Write(ctx context.Context, key string, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error)
	Remove(ctx context.Context, keys ...string) (int64, error)
	// Run runs commands within the Redis timeout.
	Run(ctx context.Context, fn func(context.Context, rueidis.Client) (int64, error)) (int64, error)
	// Client is nil while Redis was never reached.
	Client() rueidis.Client
	// Prefix begins the keys that are not the application's.
	Prefix() string
}

// ErrNoSession says that the session to change does not exist, or has ended meanwhile.
var ErrNoSession = errors.New("there is no session to change")

// InstructionError is a lifecycle field that cannot be carried out as it is written.
type InstructionError struct{ err error }

// Error says what is wrong with it.
func (e *InstructionError) Error() string { return "the lifecycle field " + e.err.Error() }

// Unwrap gives the cause.
func (e *InstructionError) Unwrap() error { return e.err }

// Lifecycle carries out what the application says about sessions in its responses. It
// is safe for concurrent use.
type Lifecycle struct {
	cfg    Config
	redis  Redis
	schema *schema
	users  *Users
}

// NewLifecycle makes one from the settings that its Users have. It is nil, which is
// valid and does nothing, when session.lifecycle is off.
func NewLifecycle(u *Users) *Lifecycle {
	if u == nil || !u.cfg.Lifecycle {
		return nil
	}
	return &Lifecycle{cfg: u.cfg, redis: u.redis, schema: u.schema, users: u}
}

// Header is the name of the field; empty when the lifecycle is off.
func (l *Lifecycle) Header() string {
	if l == nil {
		return ""
	}
	return l.cfg.LifecycleHeader
}

// IsHeader says whether name is that of the field, in any case.
func (l *Lifecycle) IsHeader(name []byte) bool {
	return l != nil && len(name) == len(l.cfg.LifecycleHeader) && equalFold(name, l.users.header)
}

// Apply carries out the field's lines for a request whose session check gave current,
// and returns the values of the Set-Cookie fields of the answer. What it returns without
// an error is in Redis. Its errors are *InstructionError, ErrNoSession, and those that
// wrap redisconn.ErrUnavailable: then the request has no new session, and the one that
// it had may have ended.
func (l *Lifecycle) Apply(ctx context.Context, lines []string, current Result, now time.Time) ([]string, error) {
	in, err := parseInstruction(lines)
	if err != nil {
		return nil, &InstructionError{err}
	}
	if current.Status == Unknown {
		return nil, fmt.Errorf("%w: the session of the request is not known", redisconn.ErrUnavailable)
	}
	s := current.Session
	switch in.verb {
	case verbCreate:
		return l.create(ctx, in, s)
	case verbDestroy:
		return l.destroy(ctx, s)
	case verbDestroyAll:
		return l.destroyAll(ctx, in, s)
	}
	if s == nil {
		return nil, ErrNoSession
	}
	if in.data == nil && in.ttl > 0 { // it is in the session too
		in.data = []byte(s.raw)
	}
	if in.data != nil {
		if in.data, err = l.sameUser(in, s); err != nil {
			return nil, &InstructionError{err}
		}
	}
	if in.verb == verbUpdate {
		return nil, l.update(ctx, in, s)
	}
	return l.rotate(ctx, in, s, now)
}

// create writes a session under a new id and ends the one that the request has: an id
// from before the log-in, which somebody else may have planted, is worth nothing after
// it.
func (l *Lifecycle) create(ctx context.Context, in instruction, old *Session) ([]string, error) {
	data, err := l.dated(in.data, json.Number(fmt.Sprint(time.Now().Unix())))
	if err != nil {
		return nil, &InstructionError{err}
	}
	doc, err := document(data, in.user, l.cfg.User, in.ttl)
	if err != nil {
		return nil, &InstructionError{err}
	}
	ttl := in.ttl
	if ttl == 0 {
		ttl = l.cfg.TTL
	}
	id := newID()
	s, _ := l.schema.decode(l.schema.key(id), string(doc), time.Time{})
	if in.user != nil && s.User() == "" {
		return nil, &InstructionError{fmt.Errorf("gives a user that %s cannot tell from others", l.cfg.User)}
	}
	if err := l.write(ctx, s, doc, ttl, old); err != nil {
		// Whatever was done of it: no client knows this id.
		_, _ = l.redis.Remove(context.WithoutCancel(ctx), s.key)
		return nil, err
	}
	return []string{l.cfg.setCookie(id)}, nil
}

// write does it in an order in which a failure at any point leaves the old session or
// none: the session first, then its place in the index, since a log-out everywhere in
// between must find what the index holds.
func (l *Lifecycle) write(ctx context.Context, s *Session, doc []byte, ttl time.Duration, old *Session) error {
	if err := l.set(ctx, s.key, doc, ttl, "NX"); err != nil {
		return err
	}
	if err := l.users.enter(ctx, s, old, false, ttl); err != nil {
		return err
	}
	return l.end(ctx, old)
}

// set writes a session. mode is NX or XX; a ttl of 0 keeps what is there.
func (l *Lifecycle) set(ctx context.Context, key string, doc []byte, ttl time.Duration, mode string) error {
	msg, err := l.redis.Write(ctx, key, func(b rueidis.Builder) rueidis.Completed {
		cmd := b.Arbitrary("SET").Keys(key).Args(string(doc), mode)
		switch {
		case ttl > 0:
			return cmd.Args("PX", fmt.Sprint(expiresIn(ttl))).Build()
		case mode == "XX":
			return cmd.Args("KEEPTTL").Build()
		}
		return cmd.Build()
	})
	if err == nil && msg.IsNil() {
		return ErrNoSession
	}
	return err
}

// end deletes a session, and takes it out of its user's index.
func (l *Lifecycle) end(ctx context.Context, s *Session) error {
	if s == nil {
		return nil
	}
	if _, err := l.redis.Remove(ctx, s.key); err != nil {
		return err
	}
	l.users.leave(ctx, s)
	return nil
}

func (l *Lifecycle) update(ctx context.Context, in instruction, s *Session) error {
	return l.set(ctx, s.key, in.data, in.ttl, "XX")
}

// rotate moves the session to a new id. The index has the new id first: should the rest
// fail, an entry too many is removed when it is found to be of no session.
func (l *Lifecycle) rotate(ctx context.Context, in instruction, old *Session, now time.Time) ([]string, error) {
	id := newID()
	fresh, _ := l.schema.decode(l.schema.key(id), old.raw, time.UnixMilli(old.expireAt))
	if err := l.users.enter(ctx, fresh, old, true, in.ttl); err != nil {
		return nil, err
	}
	move := l.move
	if l.users.cluster {
		move = l.moveAcross
	}
	if err := move(ctx, in, old, fresh.key, now); err != nil {
		_, _ = l.redis.Remove(context.WithoutCancel(ctx), fresh.key)
		return nil, err
	}
	l.users.leave(ctx, old)
	return []string{l.cfg.setCookie(id)}, nil
}

// move is one script.
func (l *Lifecycle) move(ctx context.Context, in instruction, old *Session, key string, _ time.Time) error {
	ttl := ""
	if in.ttl > 0 {
		ttl = fmt.Sprint(expiresIn(in.ttl))
	}
	msg, err := l.redis.Write(ctx, old.key, func(b rueidis.Builder) rueidis.Completed {
		return b.Eval().Script(rotateScript).Numkeys(2).Key(old.key, key).Arg(string(in.data), ttl).Build()
	})
	if err != nil {
		return err
	}
	if n, err := msg.AsInt64(); err != nil || n == 0 {
		return ErrNoSession
	}
	return nil
}

// moveAcross is for a Cluster, where the two ids are in different slots: the new session
// is written before the old one is deleted, and the answer is sent after both. One that
// had ended meanwhile takes the new one with it: the log-out was meant for it.
func (l *Lifecycle) moveAcross(ctx context.Context, in instruction, old *Session, key string, now time.Time) error {
	doc, ttl := in.data, in.ttl
	if doc == nil {
		doc = []byte(old.raw)
	}
	if ttl == 0 && old.expireAt != 0 {
		if ttl = time.UnixMilli(old.expireAt).Sub(now); ttl <= 0 {
			return ErrNoSession
		}
	}
	if err := l.set(ctx, key, doc, ttl, "NX"); err != nil {
		return err
	}
	n, err := l.redis.Remove(ctx, old.key)
	if err == nil && n == 0 {
		err = ErrNoSession
	}
	return err
}

func (l *Lifecycle) destroy(ctx context.Context, s *Session) ([]string, error) {
	if err := l.end(ctx, s); err != nil {
		return nil, err
	}
	return []string{l.cfg.expireCookie(l.cfg.sessionCookie())}, nil
}

// destroyAll ends every session of a user: of the one that is named, else of the
// session's. The cookie goes only when the request's own session did.
func (l *Lifecycle) destroyAll(ctx context.Context, in instruction, s *Session) ([]string, error) {
	user, own := "", ""
	if s != nil {
		own = s.User()
	}
	if user = own; in.user != nil {
		user = fmt.Sprint(in.user)
	}
	if user != "" {
		if _, err := l.users.EndAll(ctx, user); err != nil {
			return nil, err
		}
	}
	if in.user != nil && user != own {
		return nil, nil
	}
	return l.destroy(ctx, s) // also when it is not in the index
}

// sameUser gives data with the user that the session has, and with its lifetime unless it
// gets another. A change of the user is a new log-in: that is what create is for.
func (l *Lifecycle) sameUser(in instruction, s *Session) ([]byte, error) {
	var user any
	if l.schema.user >= 0 {
		user = walk(jsonObject(s.raw), l.schema.paths[l.schema.user])
	}
	if _, tells := scalar(user); !tells {
		user = nil
	}
	ttl := in.ttl
	if ttl == 0 {
		ttl = s.ttl
	}
	data, err := l.dated(in.data, walk(jsonObject(s.raw), strings.Split(l.cfg.CreatedField, ".")))
	if err != nil {
		return nil, err
	}
	out, err := document(data, user, l.cfg.User, ttl)
	if err != nil {
		return nil, err
	}
	if fresh, _ := l.schema.decode(s.key, string(out), time.Time{}); fresh.User() != s.User() {
		return nil, errors.New("changes the session's user: use create for another user's session")
	}
	return out, nil
}

// dated gives data that says when the session was made, if session.created_field asks
// for it and data does not: one that does not say so has reached its absolute timeout.
func (l *Lifecycle) dated(data []byte, created any) ([]byte, error) {
	if l.cfg.CreatedField == "" || created == nil {
		return data, nil
	}
	if len(data) == 0 {
		data = []byte("{}")
	}
	doc := jsonObject(string(data))
	if walk(doc, strings.Split(l.cfg.CreatedField, ".")) != nil {
		return data, nil
	}
	if err := setField(doc, created, l.cfg.CreatedField); err != nil {
		return nil, err
	}
	return encode(doc)
}

func newID() string {
	b := make([]byte, idBytes)
	_, _ = rand.Read(b) // never fails: the process ends when the system has no randomness
	return base64.RawURLEncoding.EncodeToString(b)
}

// id is what stands for {id} in the session's key.
func (s *Session) id() string {
	return s.key[len(s.schema.prefix) : len(s.key)-len(s.schema.suffix)]
}

func (sc *schema) key(id string) string { return sc.prefix + id + sc.suffix }
