# Completion of aegis(8) for fish.

complete -c aegis -f
set -l none 'not __fish_seen_subcommand_from serve check demo'
complete -c aegis -n $none -a serve -d 'Serve a directory of sockets (the default)'
complete -c aegis -n $none -a check -d 'Scrape targets once and say what is wrong'
complete -c aegis -n $none -a demo -d 'Run sample services with Aegis in front'
complete -c aegis -o help -d 'Print the commands and flags'

set -l serve 'not __fish_seen_subcommand_from check demo'
complete -c aegis -n $serve -o allow -x -d 'The addresses and prefixes that may connect'
complete -c aegis -n $serve -o web.external-url -x -d 'The URL at which scrapers reach Aegis'
complete -c aegis -n $serve -o version -d 'Print the version'
complete -c aegis -n $serve -o log.level -x -a 'debug info warn error' -d 'The lowest level to log'

set -l check '__fish_seen_subcommand_from check'
complete -c aegis -n $check -o syntax-only -d 'Check only the two files'
complete -c aegis -n $check -o timeout -x -d 'The scrape_timeout of your Prometheus'
complete -c aegis -n $check -o lint -d 'Suggest improvements to the metrics'
complete -c aegis -n $check -o output -x -a 'table json' -d 'The format of the report'

set -l both 'not __fish_seen_subcommand_from demo'
complete -c aegis -n $both -o sockdir -x -a '(__fish_complete_directories)' -d 'The directory of sockets'
complete -c aegis -n $both -o varlinkdir -x -a '(__fish_complete_directories)' -d 'The directory of Varlink sockets'
complete -c aegis -n $both -o config.file -rF -d 'The targets file'
complete -c aegis -n $both -o web.config.file -rF -d 'The web file'

complete -c aegis -n 'not __fish_seen_subcommand_from check' -o hostport -x -d 'Where to listen'
