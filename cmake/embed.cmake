# stackspec_embed(OUT_VAR NAME FILES...): writes ${NAME}.cpp, which defines
#   std::span<const EmbeddedFile> stackspec::NAME()
# with the file names (no folder) and the texts of FILES, and puts its path into OUT_VAR.
# The declaration is written by hand in the module's header (see base/embedded.hpp).
function(stackspec_embed out_var name)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.cpp)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DNAME=${name} "-DFILES=${ARGN}"
            -P ${PROJECT_SOURCE_DIR}/cmake/write_embedded.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/write_embedded.cmake
    VERBATIM)
  set(${out_var} ${out} PARENT_SCOPE)
endfunction()
