package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/rig"
	"github.com/pillion-proxy/pillion/bench/web"
)

func (s *suite) httpCommand() *cobra.Command {
	var b web.Bench
	var scenarios []string
	var list, pin bool
	cmd := &cobra.Command{Use: "http", Short: "Measure HTTP requests beside other proxies", Args: cobra.NoArgs}
	cmd.Flags().StringSliceVar(&scenarios, "scenario", nil, "scenarios to measure; empty is all")
	cmd.Flags().BoolVar(&list, "list", false, "list the scenarios and do nothing")
	cmd.Flags().BoolVar(&pin, "pin", true, "keep the client off the first core, which is the servers'")
	cmd.Flags().DurationVar(&b.Warm, "warm", time.Second, "time before each measurement")
	cmd.Flags().DurationVar(&b.For, "for", 3*time.Second, "time of each measurement")
	cmd.Flags().IntVar(&b.Connections, "connections", 64, "connections, where the scenario does not say it")
	_ = cmd.RegisterFlagCompletionFunc("scenario", cobra.FixedCompletions(web.Names(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if list {
			return listScenarios(cmd)
		}
		if b.For <= 0 || b.Warm < 0 || b.Connections < 1 {
			return fmt.Errorf("--for %v, --warm %v, --connections %d: set more than 0", b.For, b.Warm, b.Connections)
		}
		// The client is this process: it keeps off the servers' core.
		if pin {
			if err := proc.PinSelf(1); err != nil {
				return err
			}
		}
		return s.measure(cmd.Context(), cmd.OutOrStdout(), func(r *rig.Rig) error {
			b.Rig = r
			return b.Run(cmd.Context(), scenarios)
		})
	}
	return cmd
}

func listScenarios(cmd *cobra.Command) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	for _, s := range web.Scenarios() {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", s.Name, strings.ToUpper(s.About[:1])+s.About[1:])
	}
	return w.Flush()
}
