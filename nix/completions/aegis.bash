# Completion of aegis(8) for bash.

_aegis() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words
  case ${COMP_WORDS[1]} in
    check)
      words='-sockdir -varlinkdir -config.file -web.config.file -syntax-only -timeout -lint -output -help'
      ;;
    demo)
      words='-hostport -help'
      ;;
    *)
      words='-hostport -sockdir -varlinkdir -allow -config.file -web.config.file -web.external-url -log.level
        -version -help'
      ;;
  esac
  if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
    words='serve check demo'
  fi
  case $prev in
    -sockdir | -varlinkdir)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$cur")
      return
      ;;
    -config.file | -web.config.file)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return
      ;;
    -hostport | -allow | -web.external-url | -timeout) words='' ;;
    -log.level) words='debug info warn error' ;;
    -output) words='table json' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _aegis aegis
