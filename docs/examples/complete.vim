" Ctrl-L in insert mode writes what is missing at the cursor, to the end of its block.
" Put this into your vimrc, and the model into MISTRAL_CLI_MODEL. Needs Vim 8.2.2324 or later.

function! MistralComplete() abort
  let l:text = join(getline(1, '$'), "\n") . "\n"
  let l:place = line('.') . ':' . charcol('.')
  let l:log = tempname()
  let l:new = system('mistral-cli complete -q --block --cursor ' . l:place . ' 2>' . l:log, l:text)
  if v:shell_error
    echomsg join(readfile(l:log), ' ')
    return ''
  endif
  return l:new
endfunction

inoremap <C-l> <C-r><C-o>=MistralComplete()<CR>
