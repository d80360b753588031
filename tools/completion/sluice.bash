# bash completion for sluice(8)                                    -*- shell-script -*-
#
# Completes objects, commands, keys and options, and the names of routes and upstreams as far as
# the daemon tells them.

# The "name" members of what `sluice -j OBJECT` prints at its top level of rows.
_sluice_names() {
	local object=$1 socket_option=()

	[[ -z ${socket-} ]] || socket_option=(--socket "$socket")
	command sluice "${socket_option[@]}" --timeout 1s -p "$object" 2>/dev/null |
		sed -nE 's/^      "name": "([A-Za-z0-9_-]+)",?$/\1/p'
}

_sluice() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local options='-j --json -p --pretty -f --bpffs-paths -d --debug --socket --bpffs --state-dir
		--timeout -V --version -h --help'
	local objects='status deny allow route upstream stats event config prog version help'
	local object='' command='' socket='' word choices='' index

	COMPREPLY=()
	# Object and command are the first two words that are no options and no values of options.
	for ((index = 1; index < COMP_CWORD; index++)); do
		word=${COMP_WORDS[index]}
		case $word in
		--socket)
			socket=${COMP_WORDS[++index]-}
			;;
		--bpffs | --state-dir | --timeout)
			((index++))
			;;
		-*) ;;
		*)
			if [[ -z $object ]]; then
				object=$word
			elif [[ -z $command ]]; then
				command=$word
			fi
			;;
		esac
	done

	case $previous in
	--socket | file)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	--bpffs | --state-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		return
		;;
	interval)
		choices='500ms 1s 5s 10s 1m'
		;;
	--timeout | ttl)
		choices='10s 1m 10m 1h 24h 7d'
		;;
	name)
		choices=$(_sluice_names "$object")
		;;
	cidr | reason | last | since | count)
		return
		;;
	*)
		if [[ $current == -* ]]; then
			choices=$options
		elif [[ -z $object ]]; then
			choices=$objects
		else
			case $object/$command in
			status/ | version/) choices='show list help' ;;
			deny/ | allow/) choices='show list add delete counters help cidr' ;;
			stats/) choices='show list watch help interval' ;;
			event/) choices='show list watch help last since' ;;
			route/) choices='show list explain help name' ;;
			upstream/) choices='show list help name' ;;
			config/) choices='show list reload check help' ;;
			prog/) choices='show list unload help' ;;
			help/) choices=$objects ;;
			deny/show | deny/list | allow/show | allow/list) choices='cidr' ;;
			deny/add | allow/add)
				# After the CIDR come the keys.
				[[ $previous == add ]] || choices='reason ttl'
				;;
			route/show | route/list | upstream/show | upstream/list) choices='name' ;;
			stats/show | stats/list) choices='interval' ;;
			stats/watch) choices='interval count' ;;
			event/show | event/list) choices='last since' ;;
			event/watch) choices='last since count' ;;
			config/check) choices='file' ;;
			route/explain)
				# METHOD URL, then the keys: header has two words behind it, listener one.
				case $previous in
				explain) choices='GET HEAD POST PUT DELETE OPTIONS PATCH' ;;
				header | listener) return ;;
				*)
					[[ ${COMP_WORDS[COMP_CWORD - 2]} == @(explain|header) ]] ||
						choices='header listener'
					;;
				esac
				;;
			esac
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
}

complete -F _sluice sluice
