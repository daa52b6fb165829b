package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// sessionCommand is the parent of what can be done about sessions.
func (p *program) sessionCommand() *cobra.Command {
	cmd := plain(&cobra.Command{
		Use:   "session",
		Short: "List and end sessions, and explain why one is accepted or not",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	cmd.AddCommand(p.sessionListCommand(), p.sessionDestroyCommand(), p.sessionDestroyAllCommand(), p.verifyCommand())
	return cmd
}

func (p *program) sessionListCommand() *cobra.Command {
	var f adminFlags
	var user string
	cmd := plain(&cobra.Command{Use: "list --user USER", Short: "List the sessions of a user, without their ids"})
	p.adminFlags(cmd, &f)
	cmd.Flags().StringVar(&user, "user", "", "the user, as the session field session.user has it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if user == "" {
			return usageError{errors.New("session list: give --user")}
		}
		return p.ask(cmd, f, http.MethodGet, "/sessions?user="+url.QueryEscape(user))
	}
	return cmd
}

func (p *program) sessionDestroyCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{Use: "destroy HANDLE", Short: "End one session, by its handle in the list"}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usageError{errors.New("session destroy: give one handle, as session list shows it")}
		}
		return nil
	}
	p.adminFlags(cmd, &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.ask(cmd, f, http.MethodDelete, "/sessions/"+url.PathEscape(args[0]))
	}
	return cmd
}

func (p *program) sessionDestroyAllCommand() *cobra.Command {
	var f adminFlags
	var user string
	cmd := plain(&cobra.Command{Use: "destroy-all --user USER", Short: "Log a user out everywhere"})
	p.adminFlags(cmd, &f)
	cmd.Flags().StringVar(&user, "user", "", "the user, as the session field session.user has it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if user == "" {
			return usageError{errors.New("session destroy-all: give --user")}
		}
		return p.ask(cmd, f, http.MethodDelete, "/sessions?user="+url.QueryEscape(user))
	}
	return cmd
}

// usersCommand is the parent of what can be asked about users.
func (p *program) usersCommand() *cobra.Command {
	cmd := plain(&cobra.Command{
		Use:   "users",
		Short: "Ask who was active",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	cmd.AddCommand(p.usersActiveCommand(), p.usersStreakCommand())
	return cmd
}

func (p *program) usersActiveCommand() *cobra.Command {
	var f adminFlags
	var day string
	cmd := plain(&cobra.Command{Use: "active [--day 2026-11-25]", Short: "Count the users of a day, and of the week and month that end with it"})
	p.adminFlags(cmd, &f)
	cmd.Flags().StringVar(&day, "day", "", "the day in UTC (default: today)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/users/active"
		if day != "" {
			path += "?day=" + url.QueryEscape(day)
		}
		return p.ask(cmd, f, http.MethodGet, path)
	}
	return cmd
}

func (p *program) usersStreakCommand() *cobra.Command {
	var f adminFlags
	var user string
	cmd := plain(&cobra.Command{Use: "streak --user USER", Short: "Count the days in a row on which a user was active"})
	p.adminFlags(cmd, &f)
	cmd.Flags().StringVar(&user, "user", "", "the user's numeric id")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if user == "" {
			return usageError{errors.New("users streak: give --user")}
		}
		return p.ask(cmd, f, http.MethodGet, "/users/"+url.PathEscape(user)+"/streak")
	}
	return cmd
}

// ask makes one call of the admin API and writes its answer.
func (p *program) ask(cmd *cobra.Command, f adminFlags, method, path string) error {
	c, err := p.admin(f)
	if err != nil {
		return err
	}
	text, err := c.call(cmd.Context(), method, path, nil)
	if err == nil {
		_, err = p.stdout.Write(text)
	}
	return err
}
