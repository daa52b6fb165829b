package peers

import (
	"fmt"
	"strings"
	"testing"
)

func settings() Settings {
	return Settings{
		Dir: "/d", User: "u", Addr: "127.0.0.1:1", Origin: "127.0.0.1:2", OriginHost: "127.0.0.1", OriginPort: "2",
		Host: "127.0.0.1", Port: "1", RedisHost: "127.0.0.1", RedisPort: "3", Workers: 1, Connections: 100, Files: 1000, OpenFileCache: 300, Memory: "1GiB",
	}
}

func TestRender(t *testing.T) {
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("svc%d", i)
	}
	for name, has := range map[string][]string{
		"nginx.conf.tmpl":   {"listen 127.0.0.1:1 reuseport", "server 127.0.0.1:2;", "location /svc999/", "worker_processes 1;", "open_file_cache max=300"},
		"haproxy.cfg.tmpl":  {"bind 127.0.0.1:1", "server app 127.0.0.1:2", "-f /d/services.lst", "nbthread 1"},
		"caddy.tmpl":        {"http://:1 {", "bind 127.0.0.1", "reverse_proxy 127.0.0.1:2 {"},
		"varnish.vcl.tmpl":  {`.port = "2"`},
		"pillion.yaml.tmpl": {`path: "/svc999/**"`, "memory: 1GiB"},
	} {
		s := settings()
		s.Services = many
		text, err := Render(name, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(has, "") {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
			t.Errorf("%s was not rendered to its end", name)
		}
		if s.Services = nil; strings.Contains(must(t, name, s), "svc") {
			t.Errorf("%s has rules for services that there are not", name)
		}
	}
}

func must(t *testing.T, name string, s Settings) string {
	t.Helper()
	text, err := Render(name, s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLua(t *testing.T) {
	s := settings()
	if strings.Contains(must(t, "nginx.conf.tmpl", s), "lua") {
		t.Error("nginx alone must not have Lua")
	}
	s.Lua, s.Modules = true, []string{"/m/ndk.so", "/m/lua.so"}
	text := must(t, "nginx.conf.tmpl", s)
	for _, want := range []string{"load_module /m/ndk.so;\nload_module /m/lua.so;", `r:connect("127.0.0.1", 3)`, "access_by_lua_block"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestUnknownFile(t *testing.T) {
	if _, err := Render("apache.conf.tmpl", settings()); err == nil {
		t.Error("no error")
	}
}
