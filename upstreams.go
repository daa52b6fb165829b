package pillion

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// defaultUpstream is the name of the main application in metrics and logs.
const defaultUpstream = proxy.MainUpstream

// openUpstreams makes the client of each application.
func (p *Pillion) openUpstreams(cfg Config) (err error) {
	if p.upstream, err = p.openUpstream(defaultUpstream, "upstream", cfg.Upstream); err != nil {
		return err
	}
	p.upstreams = make(map[string]*upstream.Client, len(cfg.Upstreams))
	for i, u := range cfg.Upstreams {
		if p.upstreams[u.Name], err = p.openUpstream(u.Name, fmt.Sprintf("upstreams[%d]", i), u.Config); err != nil {
			delete(p.upstreams, u.Name)
			return err
		}
	}
	return nil
}

func (p *Pillion) openUpstream(name, setting string, cfg upstream.Config) (*upstream.Client, error) {
	log := p.log.With().Str("upstream", name).Logger()
	return upstream.New(cfg, upstream.WithSetting(setting), upstream.WithOnChange(func(available bool, cause error) {
		if available {
			log.Info().Msg("the application is available again")
			return
		}
		log.Warn().Err(cause).Msg("the application is not available: no requests are sent to it for now")
	}))
}

// placedQueues gives the queues of the configuration, which stays as it is, each with the
// application that its webhook is a path on.
func (p *Pillion) placedQueues(cfg Config) []queueagent.Config {
	queues := slices.Clone(cfg.Queues)
	for i := range queues {
		w := &queues[i].Webhook
		if w.App.Address != "" || !w.IsPath() {
			continue // said by the program, or by the URL
		}
		client := p.upstream
		if w.Upstream != "" {
			client = p.upstreams[w.Upstream] // there is one: the configuration was checked
		}
		w.App = webhook.App(client.Endpoint())
	}
	return queues
}

// closeUpstreams cuts what is still sent to the applications.
func (p *Pillion) closeUpstreams() error {
	var errs []error
	if p.upstream != nil {
		errs = append(errs, p.upstream.Close())
	}
	for _, client := range p.upstreams {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}
