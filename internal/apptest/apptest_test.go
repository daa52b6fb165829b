package apptest

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestRawRecordsWhatItReceived(t *testing.T) {
	for _, start := range []func(testing.TB, func(int) []Step) *Raw{Start, StartUnix} {
		raw := start(t, InTurn(
			[]Step{Expect(), Send("one"), CloseWrite(), Drain()}, []Step{ExpectBytes(1), Dribble("two"), Close()}))
		for i, sent := range []string{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nbrest", "x"} {
			nc, err := net.Dial(raw.ln.Addr().Network(), raw.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(nc, sent); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(nc); string(b) != []string{"one", "two"}[i] || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			_ = nc.Close()
			raw.Await(t, i)
			if got := string(raw.Received(i)); got != sent {
				t.Errorf("received %q, want %q", got, sent)
			}
		}
		if !strings.Contains(raw.URL(), raw.Addr()) || raw.Conns() != 2 {
			t.Error(raw.URL(), raw.Conns())
		}
	}
}

func TestAppCounts(t *testing.T) {
	app := StartApp(t, nil)
	for range 3 {
		if status, body, err := fasthttp.Get(nil, app.URL()+"/a?x"); status != 200 || string(body) != "/a" || err != nil {
			t.Fatal(status, body, err)
		}
	}
	if app.Calls("GET", "/a") != 3 || app.Calls("POST", "/a") != 0 || app.Total() != 3 {
		t.Error(app.Calls("GET", "/a"), app.Total())
	}
}
