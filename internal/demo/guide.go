package demo

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// chapter is a part of the guide: what to see, and the lines that show it.
type chapter struct {
	shows string
	lines []string
}

// guide prints where everything is and what to try.
func (r *rig) guide() {
	r.banner()
	p := r.screen.line
	p("To try in a second terminal, top to bottom (pillion demo --tour does it all by itself):")
	if _, found := redisCLI(); !found {
		p("  redis-cli is not installed here: in place of a line that uses it, take the curl line below it.")
	}
	for i, c := range r.chapters() {
		p("")
		p("%2d. %s", i+1, c.shows)
		for _, l := range c.lines {
			p("    %s", r.screen.paint("36", l))
		}
	}
	p("")
	p("What happens is shown below. Ctrl-C ends everything.")
	p("")
}

func (r *rig) banner() {
	p := r.screen.line
	p("%s", r.screen.paint("1", "pillion demo"))
	p("")
	p("  pillion      http://%s   in front of the application", r.proxy)
	p("  admin        http://%s   health, metrics, purge", r.admin)
	p("  application  http://%s   each answer says in X-App-Calls how often it was really called", r.app.addr)
	for i, l := range r.redis.describe() {
		p("  %-12s %s", []string{"Redis", ""}[min(i, 1)], l)
	}
	p("")
}

// redisCLI is the command that talks to Redis, and whether it is on PATH.
func redisCLI() (name string, found bool) {
	for _, name := range []string{"redis-cli", "valkey-cli"} {
		if _, err := exec.LookPath(name); err == nil {
			return name, true
		}
	}
	return "redis-cli", false
}

func (r *rig) chapters() []chapter {
	cli, _ := redisCLI()
	_, port, _ := net.SplitHostPort(r.redis.addr())
	fill := strings.NewReplacer(
		"PILLION", "http://"+r.proxy, "ADMIN", r.admin, "APP", r.app.url(), "CLI", cli+" -p "+port,
	)
	chapters := append(pageChapters(), append(sessionChapters(), queueChapters()...)...)
	for i := range chapters {
		for j, l := range chapters[i].lines {
			chapters[i].lines[j] = fill.Replace(l)
		}
	}
	return chapters
}

func pageChapters() []chapter {
	return []chapter{
		{"A page is made once: the second answer is a hit, and X-App-Calls stands still.", []string{
			"curl -i PILLION/api/products/7",
			"curl -i PILLION/api/products/7",
		}},
		{"A product that is not there is asked for once too: made-up ids do not reach the application.", []string{
			"curl -i PILLION/api/products/999",
			"curl -i PILLION/api/products/999",
		}},
		{"A purge is one write to Redis, by whoever changed the product: the next answer is new.", []string{
			`CLI SET pillion:t:product:7 "$(date +%s%N)" EX 777600`,
			"pillion purge --admin ADMIN --tag product:7        # or so",
			`curl -d '{"tag":"product:7"}' http://ADMIN/purge   # or so`,
			"curl -i PILLION/api/products/7",
		}},
		{"One URL can be purged as well.", []string{
			`curl -d '{"url":"PILLION/api/products/7"}' http://ADMIN/purge`,
			"curl -i PILLION/api/products/7",
		}},
	}
}

func sessionChapters() []chapter {
	return []chapter{
		{"A page that needs a session is refused without one, and the application is not asked.", []string{
			"curl -i PILLION/profile",
		}},
		{"The application logs a user in by writing session:<id> into Redis; pillion lets that user pass.", []string{
			"ada=$(curl -s -d user=ada PILLION/login); echo $ada",
			`curl -i -H "X-Session-ID: $ada" PILLION/profile`,
			`curl -i -H "X-Session-ID: $ada" PILLION/profile   # a hit`,
		}},
		{"Another user has a profile of her own, and nobody can claim to be somebody else.", []string{
			"grace=$(curl -s -d user=grace PILLION/login); echo $grace",
			`curl -i -H "X-Session-ID: $grace" PILLION/profile`,
			`curl -i -H "X-Session-ID: $grace" -H "X-User-Id: 1" PILLION/profile`,
		}},
		{"A log-out deletes the session, wherever it is done: from then on it is 401.", []string{
			`curl -i -X POST -H "X-Session-ID: $ada" PILLION/logout`,
			`curl -i -H "X-Session-ID: $ada" PILLION/profile`,
			`CLI DEL "session:$grace"`,
			`curl -i -X POST -H "X-Session-ID: $grace" PILLION/logout   # or so`,
			`curl -i -H "X-Session-ID: $grace" PILLION/profile`,
		}},
	}
}

func queueChapters() []chapter {
	return []chapter{
		{"A task that is pushed to a list is POSTed to the application at once.", []string{
			fmt.Sprintf(`CLI RPUSH %s '{"type":"hello","data":{"to":"world"}}'`, listKey),
			`curl -X POST "APP/enqueue?type=hello"   # or let the application do it`,
		}},
		{"A task in a sorted set is POSTed when it is due, here in three seconds.", []string{
			fmt.Sprintf(`due=$(($(date +%%s)+3)); CLI ZADD %s $due "{\"type\":\"tea\",\"data\":{\"due\":$due}}"`, delayKey),
			`curl -X POST "APP/remind?in=3&type=tea"   # or let the application do it`,
		}},
		{"A task that fails is tried again, with growing pauses (the type flaky fails once).", []string{
			`curl -X POST "APP/enqueue?type=flaky"`,
		}},
		{"The numbers, for Prometheus.", []string{
			"curl -s http://ADMIN/metrics | grep ^pillion_",
		}},
	}
}
