package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// fakeLease is a lease that its test may end.
type fakeLease struct {
	begin, attach, detach error
	end                   time.Time
}

func (l *fakeLease) Begin(end time.Time) (time.Time, error) {
	l.end = end
	return end, l.begin
}

func (l *fakeLease) Attach(c net.Conn) error {
	if l.attach != nil {
		return l.attach
	}
	return c.SetDeadline(l.end)
}

func (l *fakeLease) Detach() error { return l.detach }

func testEndpoint(tb testing.TB, url string) *Endpoint {
	tb.Helper()
	e, err := New(Config{URL: url, Timeout: 5 * time.Second}, Task{}, "q", 10)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func send(s *Sender, id string) Answer {
	return s.Send(context.Background(), &fakeLease{}, &Request{ID: id, Payload: "{}", Attempt: 1, Reason: "first"})
}

func TestTLSKeepsItsConnection(t *testing.T) {
	cert, key, err := fasthttp.GenerateTestCertificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := &countingListener{Listener: plain}
	srv := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(conns, &tls.Config{Certificates: []tls.Certificate{pair}}))
	}()
	_, port, _ := net.SplitHostPort(plain.Addr().String())
	e := testEndpoint(t, "https://localhost:"+port+"/")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	e.target.tls.RootCAs = pool
	s := e.Sender()
	for range 20 {
		if a := send(s, "1"); a.Status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	if n := conns.n.Load(); n != 1 {
		t.Errorf("%d connections for 20 deliveries, one after the other: want 1", n)
	}
	s.Close()
	_ = srv.Shutdown()
	_ = plain.Close()
	<-done
}

type countingListener struct {
	net.Listener
	n atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func TestTheLeaseEndsADelivery(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // nobody answers
	e := testEndpoint(t, "http://"+ln.Addr().String()+"/")
	e.timeout = 50 * time.Millisecond
	why := errors.New("the reason")
	for name, l := range map[string]*fakeLease{"begin": {begin: why}, "attach": {attach: why}, "detach": {detach: why}} {
		a := e.Sender().Send(context.Background(), l, &Request{ID: "1", Payload: "{}"})
		if a.Kind != KindStopped || !errors.Is(a.Err, why) {
			t.Errorf("%s: %+v: want it stopped, with the reason", name, a)
		}
	}
	if a := send(e.Sender(), "1"); a.Kind != KindTimeout || a.Err == nil {
		t.Errorf("nobody answers: %+v: want a timeout", a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if a := e.Sender().Send(ctx, &fakeLease{}, &Request{ID: "1"}); a.Kind != KindStopped {
		t.Errorf("cancelled before dialling: %+v: want it stopped", a)
	}
}
