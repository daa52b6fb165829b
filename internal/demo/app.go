package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	sessionTTL = 7 * 24 * time.Hour
	// markLife is how long a purge mark lives: cache.max_ttl, seven days unless set,
	// and two days. Not more and not less, since what is left of it tells pillion when
	// the mark was written.
	markLife = 9 * 24 * time.Hour
	// effort is how long the application takes to make a page, as if from a database.
	effort = 20 * time.Millisecond
	// maxProduct is the highest id that there is.
	maxProduct = 100
)

// app is the demo's application. It is what an application behind pillion looks
// like: it writes sessions and tasks into Redis through a client of its own, trusts
// X-User-Id, and receives tasks as POSTs. It knows nothing else of pillion. Safe for
// concurrent use.
type app struct {
	redis rueidis.Client
	http  http.Server
	addr  string
	event func(text string)
	ended chan error
	users map[string]int // never changed

	mu       sync.Mutex
	calls    map[string]int // by route; the routes bound it
	received []delivery     // the newest, at most maxReceived
	tasks    int            // deliveries accepted

	hold     chan struct{} // closed: what is slow goes on
	holdOnce sync.Once
	waiting  chan string // slow work that has begun, by its route or task type
}

// startApp opens the application on a loopback port, 8000 if it is free. event gets
// what is worth a line.
func startApp(redisAddr string, event func(string)) (*app, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{redisAddr}, ForceSingleClient: true, DisableCache: true,
		PipelineMultiplex: -1, // one connection: when one command succeeds after an outage, all do
	})
	if err != nil {
		return nil, fmt.Errorf("the application cannot reach redis at %s: %w", redisAddr, err)
	}
	a := &app{
		redis: client, event: event, calls: make(map[string]int), ended: make(chan error, 1),
		users: map[string]int{"ada": 1, "grace": 2, "alan": 3},
		hold:  make(chan struct{}), waiting: make(chan string, 16),
	}
	ln, err := listenNear("8000")
	if err != nil {
		client.Close()
		return nil, err
	}
	a.addr = ln.Addr().String()
	a.http = http.Server{Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() { a.ended <- a.http.Serve(ln) }()
	return a, nil
}

func listenNear(port string) (net.Listener, error) {
	addr, err := freeAddr(port)
	if err != nil {
		return nil, err
	}
	return net.Listen("tcp", addr)
}

// stop lets requests in flight finish, for a moment, and closes everything.
func (a *app) stop() error {
	a.release()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := a.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("the application did not finish: %w", err), a.http.Close())
	}
	<-a.ended
	a.redis.Close()
	return err
}

func (a *app) url() string { return "http://" + a.addr }

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/products/{id}", a.counted(a.product))
	mux.HandleFunc("GET /profile", a.counted(a.profile))
	mux.HandleFunc("POST /login", a.counted(a.login))
	mux.HandleFunc("POST /logout", a.counted(a.logout))
	mux.HandleFunc("GET /whoami", a.counted(a.whoami))
	mux.HandleFunc("GET /slow", a.counted(a.slow))
	mux.HandleFunc("POST /tasks/{type}", a.task)
	mux.HandleFunc("POST /enqueue", a.enqueue)
	mux.HandleFunc("POST /remind", a.remind)
	mux.HandleFunc("GET /calls", a.counts)
	return mux
}

// counted counts a call of a route, and says in X-App-Calls which call of its route
// made the answer: on a stored answer it is as old as the answer.
func (a *app) counted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.calls[r.Pattern]++
		n := a.calls[r.Pattern]
		a.mu.Unlock()
		w.Header().Set("X-App-Calls", strconv.Itoa(n))
		next(w, r)
	}
}

// pages is how often the application was called, webhooks left out.
func (a *app) pages() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.calls {
		n += c
	}
	return n
}

// counts shows the calls by route.
func (a *app) counts(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	calls := maps.Clone(a.calls)
	a.mu.Unlock()
	reply(w, http.StatusOK, calls)
}

func (a *app) product(w http.ResponseWriter, r *http.Request) {
	work(r.Context())
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 1 || id > maxProduct {
		reply(w, http.StatusNotFound, map[string]any{"error": "no such product"})
		return
	}
	reply(w, http.StatusOK, map[string]any{"id": id, "name": fmt.Sprintf("Pannier no. %d", id), "made_at": now()})
}

// profile trusts X-User-Id: only pillion reaches this application, and it lets
// nobody but itself set that header.
func (a *app) profile(w http.ResponseWriter, r *http.Request) {
	work(r.Context())
	id := r.Header.Get("X-User-Id")
	for name, user := range a.users {
		if strconv.Itoa(user) == id {
			reply(w, http.StatusOK, map[string]any{"hello": name, "user_id": user, "made_at": now()})
			return
		}
	}
	reply(w, http.StatusNotFound, map[string]any{"error": "no such user", "user_id": id})
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("user")
	user, ok := a.users[name]
	if !ok {
		reply(w, http.StatusForbidden, map[string]any{"error": "no such user: the demo knows ada, grace and alan", "user": name})
		return
	}
	id := rand.Text()
	session, _ := json.Marshal(map[string]any{"user_id": user, "name": name})
	cmd := a.redis.B().Set().Key("session:" + id).Value(string(session)).Ex(sessionTTL).Build()
	if err := a.do(r.Context(), cmd); err != nil {
		redisDown(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: "session_id", Value: id, Path: "/", MaxAge: int(sessionTTL / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	a.event(fmt.Sprintf("%s logged in: SET session:%s", name, id))
	fmt.Fprintln(w, id)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Session-ID")
	if c, err := r.Cookie("session_id"); id == "" && err == nil {
		id = c.Value
	}
	if err := a.do(r.Context(), a.redis.B().Del().Key("session:"+id).Build()); err != nil {
		redisDown(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "session_id", Path: "/", MaxAge: -1})
	a.event("user " + r.Header.Get("X-User-Id") + " logged out: DEL session:" + id)
	fmt.Fprintln(w, "logged out")
}

// whoami shows the identity that arrived, under both names that a CGI-like
// application would take for one.
func (a *app) whoami(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"user_id": r.Header.Get("X-User-Id"), "underscore_twin": r.Header.Get("X_User_Id"),
	})
}

// slow answers when it is let go on.
func (a *app) slow(w http.ResponseWriter, r *http.Request) {
	a.pause(r.Context(), "request")
	fmt.Fprintln(w, "done")
}

// pause holds slow work until release, at most ten seconds.
func (a *app) pause(ctx context.Context, what string) {
	select {
	case a.waiting <- what:
	default: // nobody counts them
	}
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case <-a.hold:
	case <-ctx.Done():
	case <-late.C:
	}
}

// release lets slow work go on. It may be called again.
func (a *app) release() { a.holdOnce.Do(func() { close(a.hold) }) }

// do runs one command, at most a second.
func (a *app) do(ctx context.Context, cmd rueidis.Completed) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return a.redis.Do(ctx, cmd).Error()
}

// work takes the time that making a page takes.
func work(ctx context.Context) {
	t := time.NewTimer(effort)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// now is the time of day to the microsecond: it tells two makings of a page apart.
func now() string { return time.Now().Format("15:04:05.000000") }

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody is left to tell
}

func redisDown(w http.ResponseWriter, err error) {
	reply(w, http.StatusServiceUnavailable, map[string]any{"error": "the application cannot reach redis: " + err.Error()})
}
